//! All vendors, and a new one.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use maud::html;

use super::super::auth::OfOperator;
use super::super::components::{Input, badge, change, copyable, empty, pager, problems, time};
use super::super::error::Shown;
use super::super::form::{Form, Query};
use super::super::layout;
use crate::fields::Problem;
use crate::http::Api;
use crate::limits;
use crate::ops::{IdempotentRequest, NewVendor, OpsError};
use crate::store::Page;

async fn page(api: &Api, seat: &OfOperator, query: &Query, (new, wrong): (Option<&NewVendor>, &[Problem])) -> Shown {
    let page = Page { before: query.get("cursor").parse().ok(), limit: limits::PAGE_DEFAULT };
    let vendors = api.ops.vendors(page).await?;
    let next = vendors.last().filter(|_| vendors.len() == limits::PAGE_DEFAULT).map(|vendor| vendor.id.to_string());
    let body = html! {
        div.top { div { h1 { "Vendors" } p { "Who sells recharges through the platform." } } }
        @if let Some(NewVendor { vendor, tokens: [live, test] }) = new {
            section.sheet role="status" {
                h2 { (vendor.name) " is made; its tokens are shown this once" }
                p { "Live: " span.secret { (copyable(live.text.expose())) } }
                p { "Test: " span.secret { (copyable(test.text.expose())) } }
                p { a href=(format!("/panel/operator/vendors/{}", vendor.id)) { "Invite its people" } }
            }
        }
        section.sheet {
            @if vendors.is_empty() { (empty("No vendor yet", "Make the first one below, or with POST /v1/vendors.")) }
            @else {
                div.table { table.cards {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "E-mail" } th scope="col" { "State" } th scope="col" { "Since" } th scope="col" { "Id" } } }
                    tbody { @for vendor in &vendors { tr {
                        td data-name="Name" { a href=(format!("/panel/operator/vendors/{}", vendor.id)) { (vendor.name) } }
                        td data-name="E-mail" { (vendor.email) }
                        td data-name="State" { @if vendor.disabled { (badge("bad", "disabled")) } @else { (badge("good", "active")) } }
                        td data-name="Since" { (time(vendor.created_at)) }
                        td data-name="Id" { code { (vendor.id) } }
                    } } }
                } }
            }
        }
        (pager(query, next))
        section.sheet {
            h2 { "A new vendor" }
            (problems(wrong, &["name", "email"]))
            (change("/panel/operator/vendors", &seat.person.proof, html! {
                (Input { required: true, ..Input::text("name", "Name", "") }.draw(wrong))
                (Input { kind: "email", required: true, help: Some("Where mails about its endpoints go."), ..Input::text("email", "E-mail", "") }.draw(wrong))
                button.main type="submit" { "Make the vendor" }
            }))
        }
    };
    Ok(layout::of_operator(seat, query, ("/vendors", "Vendors"), body))
}

pub(super) async fn list(State(api): State<Api>, seat: OfOperator, query: Query) -> Shown {
    page(&api, &seat, &query, (None, &[])).await
}

pub(super) async fn create(State(api): State<Api>, seat: OfOperator, form: Form) -> Shown<Response> {
    match api.ops.create_vendor(seat.caller, form.fields(), IdempotentRequest::unkept()).await {
        Ok(new) => Ok(page(&api, &seat, &Query::default(), (Some(&new), &[])).await?.into_response()),
        Err(OpsError::Invalid(wrong)) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page(&api, &seat, &Query::default(), (None, &wrong)).await?).into_response())
        }
        Err(other) => Err(other.into()),
    }
}
