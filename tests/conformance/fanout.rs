//! Who gets an event, and what was missed.

use std::collections::HashSet;

use ringback::domain::endpoint::{Endpoint, EndpointStatus};
use ringback::domain::id::{DeliveryId, EndpointId};
use ringback::domain::recharge::Status;
use ringback::domain::vendor::Mode;
use ringback::limits;
use ringback::store::{DeliveryQuery, EndpointChange, OpenQuery, OpenRun, Portion, TimeRange, VendorChange, Write};

use crate::commands::Deeds;
use crate::harness::{START, Side, Subject, at, eight, first, keys, publish, report};

async fn missed(on: &Subject, id: EndpointId) -> u64 {
    on.store.missed(id).await.unwrap()
}

fn receivers(runs: &[OpenRun]) -> Vec<EndpointId> {
    runs.iter().map(|run| run.key.endpoint).collect()
}

/// Numbers of all deliveries that an endpoint has.
async fn delivered(on: &Subject, side: Side, endpoint: EndpointId) -> Vec<i64> {
    let query = DeliveryQuery {
        stream: side.stream,
        endpoint: Some(endpoint),
        state: None,
        sequence: None,
        event_type: None,
        recharge: None,
        range: TimeRange::default(),
        page: first(1000),
    };
    let items = on.store.deliveries(query).await.unwrap().items;
    items.into_iter().rev().map(|delivery| delivery.id.sequence).collect()
}

pub async fn those_who_listen_get_a_delivery(on: Subject) {
    let vendor = on.vendor().await;
    let side = Side::of(&vendor, Mode::Live);
    let connected = on.connected(side).await;
    let paused = on.endpoint(side, EndpointStatus::Paused).await;
    let deleted = on.connected(side).await;
    on.change(deleted, EndpointChange::Delete).await;
    let deaf = [
        on.endpoint(side, EndpointStatus::NotConnected).await,
        on.endpoint(side, EndpointStatus::Disabled).await,
        deleted,
        on.connected(Side::of(&vendor, Mode::Test)).await,
        on.connected(on.side().await).await,
    ];
    let (judged, opened) = on.judged(START, vec![report(side, "INV-1", Status::Success)]).await;
    assert_eq!(judged[0].event, Some(1));
    assert_eq!(receivers(&opened), [connected, paused]);
    for (endpoint, there) in [(connected, true), (paused, true)].into_iter().chain(deaf.map(|id| (id, false))) {
        let delivery = on.store.delivery(DeliveryId { endpoint, sequence: 1 }).await.unwrap();
        assert_eq!(delivery.is_some(), there, "{endpoint}");
        let open = on.open_page(endpoint, OpenQuery::Fresh { after: 0 }, Portion::rows(10)).await.runs;
        assert_eq!(open.len(), usize::from(there));
    }
    assert_eq!(on.store.open_count().await.unwrap(), 2);
}

pub async fn filters_choose_what_is_delivered(on: Subject) {
    let side = on.side().await;
    let (all, some, one) = (on.connected(side).await, on.connected(side).await, on.connected(side).await);
    on.refilter(some, &["recharge.*"]).await;
    on.refilter(one, &["recharge.failed", "invoice.paid"]).await;
    let reports = vec![report(side, "INV-1", Status::Success), report(side, "INV-2", Status::Failed)];
    let (_, opened) = on.judged(START, reports).await;
    let got: Vec<_> = opened.iter().map(|run| (run.key.sequence, run.key.endpoint)).collect();
    assert_eq!(got, [(1, all), (1, some), (2, all), (2, some), (2, one)]);
    assert_eq!(receivers(&on.event(side, "invoice.paid", START).await), [all, one]);
    assert_eq!(receivers(&on.event(side, "invoice.paid.late", START).await), [all]);
}

/// Each change is in force for the very next commit, and for none before it.
pub async fn a_change_counts_from_the_next_event(on: Subject) {
    let side = on.side().await;
    let id = on.endpoint(side, EndpointStatus::NotConnected).await;
    let got = async || on.event(side, "invoice.paid", START).await.len();
    assert_eq!(got().await, 0);
    for (to, count) in
        [(EndpointStatus::Connected, 1), (EndpointStatus::Paused, 1), (EndpointStatus::Disabled, 0), (EndpointStatus::Connected, 1)]
    {
        on.turn(id, to).await;
        assert_eq!(got().await, count, "{to:?}");
    }
    on.refilter(id, &["recharge.*"]).await;
    assert_eq!(got().await, 0);
    on.refilter(id, &["invoice.*"]).await;
    assert_eq!(got().await, 1);
    let other = on.connected(side).await;
    assert_eq!(got().await, 2);
    on.change(id, EndpointChange::Delete).await;
    assert_eq!(got().await, 1);
    on.store.update_vendor(side.vendor, VendorChange { disabled: Some(true), ..VendorChange::default() }).await.unwrap();
    assert_eq!(got().await, 1, "a disabled vendor's deliveries are made and wait");
    assert_eq!(delivered(&on, side, id).await, [2, 3, 5, 7, 8]);
    assert_eq!(delivered(&on, side, other).await, [8, 9, 10]);
}

pub async fn nothing_is_missed_by_who_listens(on: Subject) {
    let side = on.side().await;
    on.event(side, "invoice.paid", START).await;
    let id = on.connected(side).await;
    assert_eq!(missed(&on, id).await, 0, "what came before it was made is not missed");
    on.event(side, "invoice.paid", START).await;
    on.turn(id, EndpointStatus::Paused).await;
    let runs = on.event(side, "invoice.paid", START).await;
    assert_eq!(keys(&runs), [(3, 1)]);
    assert_eq!(missed(&on, id).await, 0);
}

pub async fn what_was_sent_while_away_is_missed(on: Subject) {
    let side = on.side().await;
    let id = on.endpoint(side, EndpointStatus::NotConnected).await;
    let mut expected = 0;
    for (to, hears) in [
        (EndpointStatus::NotConnected, false),
        (EndpointStatus::Connected, true),
        (EndpointStatus::Disabled, false),
        (EndpointStatus::Paused, true),
        (EndpointStatus::Disabled, false),
    ] {
        on.turn(id, to).await;
        assert_eq!(missed(&on, id).await, expected, "a change alone misses nothing");
        on.event(side, "invoice.paid", START).await;
        on.event(side, "invoice.paid", START).await;
        expected += if hears { 0 } else { 2 };
        assert_eq!(missed(&on, id).await, expected, "{to:?}");
    }
    for to in [EndpointStatus::Connected, EndpointStatus::Disabled, EndpointStatus::Connected] {
        on.turn(id, to).await;
        assert_eq!(missed(&on, id).await, expected, "nothing came between");
    }
    assert_eq!(delivered(&on, side, id).await, [3, 4, 7, 8]);
}

pub async fn another_filter_misses_other_events(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    on.refilter(id, &["recharge.success"]).await;
    let reports = [("a", Status::Success), ("b", Status::Failed), ("c", Status::Failed)];
    on.judged(START, reports.map(|(reference, status)| report(side, reference, status)).to_vec()).await;
    on.event(side, "invoice.paid", START).await;
    assert_eq!(missed(&on, id).await, 0);
    for (patterns, expected) in
        [(&["recharge.*"][..], 2), (&["*"], 3), (&["recharge.failed"], 2), (&["invoice.paid"], 1), (&["recharge.success"], 0)]
    {
        on.refilter(id, patterns).await;
        assert_eq!(missed(&on, id).await, expected, "{patterns:?}");
    }
    on.turn(id, EndpointStatus::Disabled).await;
    on.judged(at(1), vec![report(side, "d", Status::Success), report(side, "e", Status::Failed)]).await;
    assert_eq!(missed(&on, id).await, 1);
    on.refilter(id, &["recharge.*"]).await;
    assert_eq!(missed(&on, id).await, 4, "two of its narrow time, two of its absence");
}

pub async fn very_many_are_missed(on: Subject) {
    let side = on.side().await;
    let id = on.endpoint(side, EndpointStatus::NotConnected).await;
    let many = limits::SCAN_MAX + 1;
    on.commit((0..many).map(|_| Write::Publish(publish(side, "invoice.paid", START))).collect()).await;
    assert_eq!(missed(&on, id).await, many as u64);
    on.turn(id, EndpointStatus::Connected).await;
    on.event(side, "invoice.paid", START).await;
    assert_eq!(missed(&on, id).await, many as u64);
}

pub async fn who_was_made_listening_misses_nothing(on: Subject) {
    let side = on.side().await;
    let endpoint = Endpoint { status: EndpointStatus::Connected, ..on.new_endpoint(side) };
    on.store.create_endpoint(endpoint.clone(), 10).await.unwrap();
    assert_eq!(receivers(&on.event(side, "invoice.paid", START).await), [endpoint.id]);
    assert_eq!(missed(&on, endpoint.id).await, 0, "what made a delivery is not missed");
}

/// Four publish while four switch the endpoint on and off: every event is either delivered or missed.
pub async fn delivered_and_missed_are_all_there_is(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let opened = eight(|number| {
        let on = on.clone();
        async move { if number % 2 == 0 { publish_ten(&on, side).await } else { switch_ten_times(&on, id).await } }
    })
    .await;
    let opened: HashSet<i64> = opened.into_iter().flatten().collect();
    let delivered: HashSet<i64> = delivered(&on, side, id).await.into_iter().collect();
    assert_eq!(delivered, opened, "what a commit opened is what there is");
    let latest = on.store.events_after(side.stream, None, 0).await.unwrap().latest;
    assert_eq!((latest, delivered.len() as u64 + missed(&on, id).await), (40, 40));
}

async fn publish_ten(on: &Subject, side: Side) -> Vec<i64> {
    let mut opened = Vec::new();
    for _ in 0..10 {
        opened.extend(on.event(side, "invoice.paid", START).await.iter().map(|run| run.key.sequence));
    }
    opened
}

async fn switch_ten_times(on: &Subject, id: EndpointId) -> Vec<i64> {
    for round in 0..10 {
        on.turn(id, if round % 2 == 0 { EndpointStatus::Disabled } else { EndpointStatus::Connected }).await;
    }
    Vec::new()
}
