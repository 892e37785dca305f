//! The API that vendors of an existing platform already call: the same verbs, in its words. Answers are `{error, message, data}`.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::{Value, json};

use super::super::Api;
use super::super::auth::Authenticated;
use super::super::error::ApiError;
use super::super::input::Body;
use crate::domain::catalogue::{Country, Network, Packages};
use crate::domain::recharge::{Recharge, Status};
use crate::fields::Fields;
use crate::ops::{Caller, IdempotentRequest, OpsError};

/// All its paths, with and without `/api/v1`.
pub(in super::super) fn routes() -> axum::Router<Api> {
    let mut router = axum::Router::new();
    for base in ["", "/api/v1"] {
        for country in Country::ALL {
            let path = |rest: &str| format!("{base}/{}/{rest}", country.as_str());
            router = router
                .route(&path("recharge/execute"), post(move |State(api): State<Api>, request: Request| execute(api, country, request)))
                .route(&path("service/status"), post(move |State(api): State<Api>, request: Request| status(api, request)))
                .route(&path("recharge/package"), post(move |State(api): State<Api>, request: Request| packages(api, country, request)))
                .route(&path("operator"), get(move |State(api): State<Api>, request: Request| operators(api, country, request)))
                .route(&path("operator-type"), get(move |State(api): State<Api>, request: Request| operator_types(api, country, request)));
        }
        router = router.route(&format!("{base}/in/circle"), get(move |State(api): State<Api>, request: Request| circles(api, request)));
    }
    router
}

/// A failure in its words.
struct Failed(StatusCode, String);

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        let (status, message) = error.told();
        Self(status, message)
    }
}

impl From<OpsError> for Failed {
    fn from(error: OpsError) -> Self {
        ApiError::from(error).into()
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": true, "message": self.1}))).into_response()
    }
}

type Answer = Result<Json<Value>, Failed>;

fn told(message: &str, data: Value) -> Answer {
    Ok(Json(json!({"error": false, "message": message, "data": data})))
}

async fn input(api: &Api, request: Request) -> Result<(Caller, Fields), Failed> {
    let (mut parts, body) = request.into_parts();
    let Authenticated(caller) = Authenticated::from_request_parts(&mut parts, api).await?;
    let Body(fields) = Body::from_request(Request::from_parts(parts, body), api).await?;
    Ok((caller, fields))
}

async fn execute(api: Api, country: Country, request: Request) -> Answer {
    let (caller, fields) = input(&api, request).await?;
    let ordered = api.ops.order(caller, fields, Some(country), IdempotentRequest::unkept()).await?;
    let mut data = shown(&ordered.recharge);
    data["connection_no"] = json!(ordered.recharge.details.connection_no);
    told(if ordered.is_new { "The recharge is queued" } else { "This recharge was asked for before" }, data)
}

async fn status(api: Api, request: Request) -> Answer {
    let (caller, fields) = input(&api, request).await?;
    let recharge = api.ops.status(caller, fields).await?;
    let mut data = shown(&recharge);
    data["timestamp"] = json!(recharge.settled_at.unwrap_or(recharge.created_at));
    data["details"] = json!({"connection_no": recharge.details.connection_no, "operator": recharge.details.network});
    data["package_name"] = json!(api.ops.package_name(&recharge).await?);
    told("The recharge was found", data)
}

fn shown(recharge: &Recharge) -> Value {
    let status = match recharge.status {
        Status::Queued => "Queued",
        Status::Success => "Success",
        // It was taken back: for its vendor it has failed.
        Status::Failed | Status::Reversed => "Failed",
    };
    json!({
        "transaction_id": recharge.transaction_id,
        "order_id": recharge.reference_no,
        "status": status,
        "amount": recharge.details.amount_text(),
    })
}

async fn packages(api: Api, country: Country, request: Request) -> Answer {
    let (_, mut fields) = input(&api, request).await?;
    let (network, service) = (fields.integer("operator_id", 1..=i64::MAX), fields.integer("operator_type_id", 1..=i64::MAX));
    let known = |network: &&Network| network.country == country;
    let network = network.and_then(|id| api.ops.catalogue().network(id)).filter(known);
    let Some((network, service)) = network.and_then(|network| Some((network, network.service(service)?))) else {
        return Err(OpsError::NotFound("operator").into());
    };
    let listed = if let Packages::OneOf(packages) = &service.packages { packages.as_slice() } else { &[] };
    let price = |minor: i64| network.currency.format(minor);
    let data = listed.iter().map(|package| json!({"id": package.id, "name": package.name, "amount": price(package.amount)})).collect();
    told("Packages", data)
}

async fn operators(api: Api, country: Country, request: Request) -> Answer {
    input(&api, request).await?;
    let networks = api.ops.catalogue().networks.iter().filter(|network| network.country == country);
    told("Operators", networks.map(|network| json!({"value": network.id, "label": network.name})).collect())
}

async fn operator_types(api: Api, country: Country, request: Request) -> Answer {
    input(&api, request).await?;
    let networks = api.ops.catalogue().networks.iter().filter(|network| network.country == country);
    let types = networks.flat_map(|network| network.services.iter().map(move |service| (network, service)));
    told(
        "Operator types",
        types.map(|(network, service)| json!({"value": service.id, "label": service.name, "operator_id": network.id})).collect(),
    )
}

async fn circles(api: Api, request: Request) -> Answer {
    input(&api, request).await?;
    told("Circles", api.ops.catalogue().circles.iter().map(|circle| json!({"value": circle.id, "label": circle.name})).collect())
}
