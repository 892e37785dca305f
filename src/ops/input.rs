//! Parts of requests that several verbs read.

use std::fmt::Display;
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::Value;

use super::{Caller, Ops, OpsError};
use crate::domain::email;
use crate::domain::id::{StreamId, VendorId};
use crate::domain::reference;
use crate::domain::time::Timestamp;
use crate::domain::token::Scope;
use crate::domain::vendor::Mode;
use crate::fields::{Fields, Problem};
use crate::limits;
use crate::store::{Page, TimeRange};

/// Whose things a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamScope {
    /// The vendor.
    pub vendor: VendorId,
    /// The mode.
    pub mode: Mode,
    /// Both.
    pub stream: StreamId,
}

impl Ops {
    /// Whose things a call is about: a vendor's token says it, the operator names `vendor_id` and `mode`.
    pub(super) async fn mine(&self, caller: Caller, fields: &mut Fields) -> Result<Option<StreamScope>, OpsError> {
        if let Scope::Vendor { vendor, mode, stream } = caller.scope {
            return Ok(Some(StreamScope { vendor, mode, stream }));
        }
        let (named, moded) = (fields.gives("vendor_id"), fields.gives("mode"));
        let vendor = fields.parse::<VendorId>("vendor_id");
        let mode = fields.parse::<Mode>("mode").or((!moded).then_some(Mode::Live));
        if !named {
            fields.invalid("vendor_id", "is required with an operator's token");
        }
        let (Some(vendor), Some(mode)) = (vendor, mode) else { return Ok(None) };
        match self.streams(vendor).await? {
            Some(found) => Ok(Some(StreamScope { vendor, mode, stream: found.stream(mode) })),
            None => {
                fields.invalid("vendor_id", "there is no such vendor");
                Ok(None)
            }
        }
    }
}

/// A page of a list as it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Paging<K>(pub Page<K>);

impl<K: FromStr<Err: Display>> Paging<K> {
    /// Reads `limit` and `cursor`.
    pub fn read(fields: &mut Fields) -> Self {
        let limit = fields.integer("limit", 1..=limits::PAGE_MAX as i64).map_or(limits::PAGE_DEFAULT, |limit| limit as usize);
        let before = match fields.value("cursor") {
            None => None,
            Some(Value::String(text)) => text.parse().inspect_err(|_| fields.invalid("cursor", "is not the next_cursor of a list")).ok(),
            Some(_) => None,
        };
        Self(Page { before, limit })
    }
}

/// Input that only has the parts of a list in it.
///
/// # Errors
/// Its problems.
pub fn only_paging<K: FromStr<Err: Display>>(mut fields: Fields) -> Result<Page<K>, OpsError> {
    let Paging(page) = Paging::read(&mut fields);
    finish(fields).map(|()| page)
}

/// The end of reading an input: nothing is left, and nothing was wrong.
pub(super) fn finish(fields: Fields) -> Result<(), OpsError> {
    let problems = fields.finish();
    if problems.is_empty() { Ok(()) } else { Err(OpsError::Invalid(problems)) }
}

/// Reads `since` and `until`.
pub(super) fn time_range(fields: &mut Fields) -> TimeRange {
    TimeRange { since: fields.parse::<Timestamp>("since"), until: fields.parse::<Timestamp>("until") }
}

/// A filter that has no index of its own needs a time range that bounds what has to be looked at.
pub(super) fn require_range(fields: &mut Fields, range: TimeRange, now: Timestamp, filter: &str) {
    let bounded = range.since.is_some_and(|since| range.until.unwrap_or(now).since(since) <= limits::RANGE_MAX);
    if !bounded {
        let message = "needs since (and until) with at most 31 days between them".to_owned();
        fields.problem(Problem { field: filter.to_owned(), code: "range_required", message });
    }
}

/// The reference of a recharge that may be new.
pub(super) fn new_reference(fields: &mut Fields) -> String {
    let text = fields.required_text("reference_no", limits::REFERENCE_MAX);
    if let Some(problem) = reference::problem(&text) {
        fields.invalid("reference_no", problem);
    }
    text
}

/// A network, or a single address.
struct Network(IpNet);

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let single = text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or(single).map(Self).map_err(|_| "must be an address or a network such as 203.0.113.0/24")
    }
}

/// A list of networks or addresses.
pub(crate) fn networks(fields: &mut Fields, name: &str, most: usize) -> Option<Vec<IpNet>> {
    Some(fields.list::<Network>(name, most)?.into_iter().map(|network| network.0).collect())
}

/// An e-mail address that may receive mail, as far as its form tells.
pub(super) fn email(fields: &mut Fields, name: &str) -> Option<String> {
    let text = fields.text(name, limits::NAME_MAX)?;
    match email::problem(&text) {
        Some(problem) => {
            fields.invalid(name, problem);
            None
        }
        None => Some(text),
    }
}
