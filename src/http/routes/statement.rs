//! A vendor's statement: its recharges of a time range as CSV, however many they are, with a trailer to check it by.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use sha2::{Digest, Sha256};

use super::super::Api;
use super::super::auth::Authenticated;
use super::super::bodies::{MineQuery, StatementQuery};
use super::super::error::{ApiError, ProblemBody};
use super::super::input::Query;
use crate::domain::id::RechargeId;
use crate::domain::money::Currency;
use crate::domain::recharge::{Recharge, Status};
use crate::domain::spreadsheet::cell;
use crate::domain::statement::{COLUMNS, COUNT, DIGEST};
use crate::ops::StreamScope;
use crate::store::TimeRange;

/// Where a statement stands.
struct Statement {
    api: Api,
    mine: StreamScope,
    range: TimeRange,
    after: Option<RechargeId>,
    count: u64,
    /// What succeeded, by currency, in minor units.
    sums: BTreeMap<&'static str, (Currency, i128)>,
    digest: Sha256,
    is_over: bool,
}

/// The recharges of a time range, in the order of their making, as CSV. Lines that begin with `#` end it: the number of
/// recharges, the sum of those that succeeded in each currency, and the SHA-256 of all lines before these. A statement that
/// does not end with them was cut short.
#[utoipa::path(get, path = "/v1/recharges.csv", tag = "vendor", params(StatementQuery, MineQuery), responses(
    (status = 200, description = "The statement", body = String, content_type = "text/csv"),
    (status = "default", description = "A problem", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in super::super) async fn statement(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    Query(fields): Query,
) -> Result<Response, ApiError> {
    let (mine, range) = api.ops.statement(caller, fields).await?;
    let (sums, digest) = (BTreeMap::new(), Sha256::new());
    let mut statement = Statement { api, mine, range, after: None, count: 0, sums, digest, is_over: false };
    let first = statement.lines(&[], true);
    let pages = futures_util::stream::unfold((statement, Some(first)), |(mut statement, first)| async move {
        if let Some(first) = first {
            return Some((Ok(first), (statement, None)));
        }
        statement.next().await.map(|page| (page, (statement, None)))
    });
    let headers = [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, "attachment; filename=\"recharges.csv\"")];
    Ok((headers, Body::from_stream(pages)).into_response())
}

impl Statement {
    /// The next part, with the trailer after the last one.
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        if self.is_over {
            return None;
        }
        match self.api.ops.statement_page(self.mine, self.range, self.after).await {
            Ok(page) if page.is_empty() => {
                self.is_over = true;
                Some(Ok(self.trailer()))
            }
            Ok(page) => {
                self.after = page.last().map(|recharge| recharge.id);
                Some(Ok(self.lines(&page, false)))
            }
            // The answer breaks off, so that nobody takes it for whole.
            Err(error) => {
                self.is_over = true;
                Some(Err(std::io::Error::other(error)))
            }
        }
    }

    fn lines(&mut self, page: &[Recharge], with_header: bool) -> Bytes {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let written = with_header.then(|| writer.write_record(COLUMNS)).transpose();
        written.expect("memory takes what is written");
        for recharge in page {
            self.count += 1;
            let details = &recharge.details;
            if let (Status::Success, Some(amount), Some(currency)) = (recharge.status, details.amount, details.currency) {
                self.sums.entry(currency.code()).or_insert((currency, 0)).1 += i128::from(amount);
            }
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let record = [
                recharge.id.to_string(),
                recharge.transaction_id.to_string(),
                recharge.reference_no.clone(),
                recharge.status.as_str().to_owned(),
                recharge.late.to_string(),
                details.amount_text().unwrap_or_default(),
                details.currency.map(Currency::code).unwrap_or_default().to_owned(),
                text(&details.network),
                text(&details.connection_no),
                text(&details.provider),
                text(&details.provider_ref),
                recharge.created_at.to_string(),
                recharge.settled_at.map(|at| at.to_string()).unwrap_or_default(),
            ];
            writer.write_record(record.iter().map(|text| cell(text).into_owned())).expect("memory takes what is written");
        }
        let lines = writer.into_inner().unwrap_or_default();
        self.digest.update(&lines);
        lines.into()
    }

    fn trailer(&self) -> Bytes {
        let mut lines = format!("{COUNT},{}\n", self.count);
        for (code, (currency, sum)) in &self.sums {
            lines.push_str(&format!("# sum of success,{code},{}\n", currency.format_sum(*sum)));
        }
        let digest: String = self.digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push_str(&format!("{DIGEST},{digest}\n"));
        lines.into()
    }
}
