//! Traces, as a collector gets them.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use ringback::clock::Stopwatch;
use serde_json::json;

use crate::harness::{TestApp, until};
use crate::receiver::{Answer, Receiver};

/// A server that tells this collector.
async fn told_to(collector: &Receiver, more: &[(&'static str, &str)]) -> TestApp {
    let endpoint = format!("http://{}", collector.address);
    let settings = [("otlp_endpoint", endpoint.as_str()), ("retry_schedule", "1s")];
    TestApp::with(&[&settings, more].concat()).await
}

/// All spans that a collector got, by their names in the order of their beginnings.
fn spans(collector: &Receiver) -> Vec<Span> {
    let mut spans = Vec::new();
    for request in collector.received() {
        assert!(request.method == "POST" && request.path.ends_with("/v1/traces"), "{} {}", request.method, request.path);
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        let read = ExportTraceServiceRequest::decode(&*request.body).expect("OTLP");
        for of in read.resource_spans {
            let resource = of.resource.expect("a resource");
            assert!(resource.attributes.iter().any(|of| of.key == "service.name"), "{resource:?}");
            spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let of = |span: &Span, name: &str| attribute(span, name).unwrap_or_default();
    spans.sort_by_key(|span| (span.name.clone(), of(span, "run"), of(span, "number"), of(span, "endpoint.id")));
    spans
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// An attribute as text.
fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|of| of.key == name)?;
    match found.value.clone()?.value? {
        Kind::StringValue(text) => Some(text),
        Kind::IntValue(number) => Some(number.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}

#[track_caller]
fn has(span: &Span, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(attribute(span, name).as_deref(), Some(*value), "{name} of {span:?}");
    }
}

fn dropped(metrics: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix("ringback_spans_dropped_total "));
    line.expect("the metric").parse().expect("a number")
}

#[tokio::test]
async fn the_life_of_an_event_is_one_trace() {
    let (collector, hook) = (Receiver::start().await, Receiver::start().await);
    let mut app = told_to(&collector, &[]).await;
    let vendor = app.vendor().await;
    let settings = json!({"url": format!("{}?key=in-the-query", hook.url()), "headers": {"x-own": "in-a-header"}});
    let endpoint = app.connected_with(&vendor, &hook, settings).await;
    hook.next([Answer::status(500).with_body("in-the-answer")]);
    let report = json!({
        "vendor_id": vendor.id, "reference_no": "in-the-reference", "status": "success", "amount": "712.50", "currency": "NPR",
        "connection_no": "9801234567", "provider_ref": "of-the-provider",
    });
    let answer = app.post("/v1/reports", &app.operator, json!({"reports": [report]})).await.expect(200);
    let event = answer["results"][0]["event_id"].as_str().expect("an event").to_owned();
    let recharge = answer["results"][0]["recharge_id"].as_str().expect("a recharge");
    app.until_attempts(&endpoint, &event, 1).await;
    app.advance(Duration::from_secs(2));
    let delivery = app.until_state(&endpoint, &event, "succeeded").await;
    assert_eq!(dropped(&app.get("/metrics", &app.operator).await.text), 0);
    app.stop().await;

    let spans = spans(&collector);
    let [root] = *named(&spans, "event") else { panic!("{spans:?}") };
    let [failed, succeeded] = *named(&spans, "attempt") else { panic!("{spans:?}") };
    let [first, second] = *named(&spans, "settle") else { panic!("{spans:?}") };
    assert_eq!(spans.len(), 5);
    assert!(spans.iter().all(|span| span.trace_id == root.trace_id && span.start_time_unix_nano <= span.end_time_unix_nano));
    let parents = [root, failed, succeeded, first, second].map(|span| span.parent_span_id.clone());
    let ids = [root, failed, succeeded].map(|span| span.span_id.clone());
    assert_eq!(parents, [Vec::new(), ids[0].clone(), ids[0].clone(), ids[1].clone(), ids[2].clone()]);

    has(root, &[("event.id", &event), ("event.type", "recharge.success"), ("recharge.id", recharge)]);
    let delivery = delivery["id"].as_str().expect("an id");
    let common = [("event.id", event.as_str()), ("endpoint.id", &endpoint.id), ("delivery.id", delivery), ("run", "1")];
    [failed, succeeded, first, second].into_iter().for_each(|span| has(span, &common));
    has(failed, &[("vendor.id", &vendor.id), ("number", "1"), ("outcome", "rejected"), ("http.response.status_code", "500")]);
    has(succeeded, &[("vendor.id", &vendor.id), ("number", "2"), ("outcome", "succeeded"), ("http.response.status_code", "200")]);
    has(first, &[("number", "1"), ("state", "pending")]);
    has(second, &[("number", "2"), ("state", "succeeded")]);
    let status = |span: &Span| span.status.as_ref().map(|status| status.code());
    assert_eq!((status(failed), status(succeeded)), (Some(StatusCode::Error), Some(StatusCode::Unset)));
    assert_eq!((failed.kind(), first.kind()), (SpanKind::Client, SpanKind::Internal));
    let gap = Duration::from_nanos(succeeded.start_time_unix_nano - failed.start_time_unix_nano);
    assert_eq!(gap, Duration::from_secs(2), "times are those of the attempts");

    let secrets = [&*endpoint.secret, "9801234567", "712.50", "in-the-", "in-a-header", "of-the-provider", &vendor.live, "127.0.0.1"];
    for request in collector.received() {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        assert!(secrets.iter().all(|secret| !body.contains(secret)), "{body}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_trace_goes_on_after_a_restart() {
    let (collector, hook) = (Receiver::start().await, Receiver::start().await);
    let under = format!("http://{}/otel/", collector.address);
    let mut app = told_to(&collector, &[("otlp_endpoint", &under)]).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    hook.next([Answer::Hangup]);
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_attempts(&endpoint, &event, 1).await;
    app.restart().await;
    let before = spans(&collector).len();
    assert_eq!(before, 3, "what was told so far has been sent");
    assert!(collector.received().iter().all(|request| request.path == "/otel/v1/traces"));
    app.advance(Duration::from_secs(2));
    app.until_state(&endpoint, &event, "succeeded").await;
    app.stop().await;
    let spans = spans(&collector);
    let [root] = *named(&spans, "event") else { panic!("{spans:?}") };
    let [failed, succeeded] = *named(&spans, "attempt") else { panic!("{spans:?}") };
    for span in [failed, succeeded] {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&root.trace_id, &root.span_id));
    }
    has(failed, &[("outcome", "unreachable"), ("error.message", "the connection was closed before an answer")]);
    assert_eq!(attribute(failed, "http.response.status_code"), None);
    app.finish().await;
}

#[tokio::test]
async fn all_endpoints_and_runs_of_an_event_share_its_trace() {
    let (collector, one, two) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    let mut app = told_to(&collector, &[]).await;
    let vendor = app.vendor().await;
    let endpoints = [app.connected(&vendor, &one).await, app.connected(&vendor, &two).await];
    let events = app.succeed(&vendor, ["R-1".to_owned(), "R-2".to_owned()]).await;
    let mut again = String::new();
    for endpoint in &endpoints {
        for event in &events {
            again = app.until_state(endpoint, event, "succeeded").await["id"].as_str().expect("an id").to_owned();
        }
    }
    app.post(&format!("/v1/deliveries/{again}/resend"), &vendor.live, json!({})).await.expect(202);
    until("the resend", || async { (two.count() == 3).then_some(()) }).await;
    app.until_state(&endpoints[1], &events[1], "succeeded").await;
    app.stop().await;
    let spans = spans(&collector);
    assert_eq!((named(&spans, "event").len(), named(&spans, "attempt").len(), named(&spans, "settle").len()), (2, 5, 5));
    let ids: std::collections::HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "no id stands twice");
    for (event, attempts) in [(&events[0], 2), (&events[1], 3)] {
        let of: Vec<_> = spans.iter().filter(|span| attribute(span, "event.id").as_ref() == Some(event)).collect();
        assert_eq!(of.iter().filter(|span| span.name == "attempt").count(), attempts);
        assert!(of.iter().all(|span| span.trace_id == of[0].trace_id), "{of:?}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_collector_that_is_not_there_does_no_harm() {
    let (gone, hook) = (Receiver::start().await, Receiver::start().await);
    let app = told_to(&gone, &[]).await;
    drop(gone);
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let events = app.succeed(&vendor, crate::harness::references(20)).await;
    for event in &events {
        app.until_state(&endpoint, event, "succeeded").await;
    }
    let counted = || async { (dropped(&app.get("/metrics", &app.operator).await.text) >= 60).then_some(()) };
    until("all spans are counted as dropped", counted).await;
    app.finish().await;
}

#[tokio::test]
async fn a_collector_that_hangs_holds_neither_deliveries_nor_the_stop() {
    let (collector, hook) = (Receiver::start().await, Receiver::start().await);
    collector.always(Answer::Stall);
    let mut app = told_to(&collector, &[("drain_timeout", "1s")]).await;
    let vendor = app.vendor().await;
    let endpoint = app.connected(&vendor, &hook).await;
    let event = app.succeed_one(&vendor, "R-1").await;
    app.until_state(&endpoint, &event, "succeeded").await;
    until("the collector is asked", || async { (collector.count() > 0).then_some(()) }).await;
    let watch = Stopwatch::start();
    app.stop().await;
    assert!(watch.elapsed() < Duration::from_secs(5), "it took {:?}", watch.elapsed());
    app.finish().await;
}
