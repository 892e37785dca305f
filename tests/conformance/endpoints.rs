//! Endpoints: what is kept of them, and how they change.

use std::time::Duration;

use ringback::domain::endpoint::{CipherText, Endpoint, EndpointStatus, FormerSecret, Ordering, Profile, Settings};
use ringback::domain::id::{EndpointId, StreamId};
use ringback::domain::secret::Secret;
use ringback::domain::vendor::Mode;
use ringback::store::{Created, EndpointChange, Page, VendorChange};

use crate::commands::Deeds;
use crate::harness::{ANY, START, Side, Subject, at, eight, filter, first, settings};

/// Settings that say something about everything.
pub fn rich_settings() -> Settings {
    Settings {
        url: "https://vendor.example:8443/hook?x=1".parse().unwrap(),
        description: Some("till 3".to_owned()),
        event_types: filter(&["recharge.*", "invoice.paid"]),
        profile: Profile::GlobalTopup,
        cipher_text: CipherText::Base64,
        alert_email: Some("oncall@vendor.example".to_owned()),
        headers: vec![("x-b".to_owned(), "custom header value".to_owned()), ("x-a".to_owned(), "2".to_owned())],
        rate_limit_per_second: Some(50),
        max_in_flight: Some(3),
        ordering: Ordering::Strict,
        strict_hold: Some(Duration::from_secs(90)),
        secret: Secret::new("the secret that signs everything"),
        former: vec![FormerSecret { secret: Secret::new("the secret before that one"), until: at(600) }],
        signing_key: Some(Secret::new("the seed of its ed25519 key pair")),
    }
}

async fn create(on: &Subject, endpoint: &Endpoint) -> Created {
    on.store.create_endpoint(endpoint.clone(), u32::MAX).await.unwrap()
}

async fn read(on: &Subject, id: EndpointId) -> Endpoint {
    on.store.endpoint(id).await.unwrap().expect("there is such an endpoint")
}

/// From these settings to others.
fn other_settings(from: Settings) -> EndpointChange {
    EndpointChange::Settings { from: Box::new(from), to: Box::new(rich_settings()) }
}

async fn listed(on: &Subject, side: Side) -> Vec<EndpointId> {
    on.store.endpoints(side.stream, first(100)).await.unwrap().into_iter().map(|endpoint| endpoint.id).collect()
}

async fn disable(on: &Subject, id: EndpointId, from: &'static [EndpointStatus]) -> Option<Endpoint> {
    let change = EndpointChange::Status {
        from,
        to: EndpointStatus::Disabled,
        reason: Some("answered 410".to_owned()),
        by_rule: false,
        failing_since: None,
    };
    on.store.change_endpoint(id, change, at(9)).await.unwrap()
}

pub async fn an_endpoint_is_kept_as_given(on: Subject) {
    let side = Side::of(&on.vendor().await, Mode::Test);
    for settings in [settings(), rich_settings()] {
        let endpoint = Endpoint { settings, ..on.new_endpoint(side) };
        assert_eq!(create(&on, &endpoint).await, Created::Yes);
        assert_eq!(read(&on, endpoint.id).await, endpoint);
        assert_eq!(on.store.endpoints(side.stream, first(1)).await.unwrap(), [endpoint], "the list says the same");
    }
}

pub async fn no_endpoint(on: Subject) {
    let side = on.side().await;
    let id = EndpointId::new(1);
    assert_eq!(on.store.endpoint(id).await.unwrap(), None);
    assert!(listed(&on, side).await.is_empty());
    assert_eq!(on.store.change_endpoint(id, EndpointChange::Delete, START).await.unwrap(), None);
    assert_eq!(on.store.change_endpoint(id, other_settings(settings()), START).await.unwrap(), None);
    assert_eq!(disable(&on, id, ANY).await, None);
    assert_eq!(on.store.missed(id).await.unwrap(), 0);
}

pub async fn endpoints_are_listed_newest_first(on: Subject) {
    let vendor = on.vendor().await;
    let side = Side::of(&vendor, Mode::Live);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(on.endpoint(side, EndpointStatus::NotConnected).await);
        on.endpoint(Side::of(&vendor, Mode::Test), EndpointStatus::NotConnected).await;
    }
    on.change(ids.remove(1), EndpointChange::Delete).await;
    ids.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = on.store.endpoints(side.stream, Page { before, limit: 3 }).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(|endpoint| endpoint.id));
        on.endpoint(side, EndpointStatus::NotConnected).await;
    }
    assert_eq!(seen, ids);
}

pub async fn a_stream_has_so_many_endpoints(on: Subject) {
    let vendor = on.vendor().await;
    let (live, test) = (Side::of(&vendor, Mode::Live), Side::of(&vendor, Mode::Test));
    let mut last = None;
    for (side, most, created) in [
        (live, 0, Created::LimitReached),
        (live, 2, Created::Yes),
        (live, 2, Created::Yes),
        (live, 2, Created::LimitReached),
        (test, 1, Created::Yes),
        (live, 3, Created::Yes),
    ] {
        let endpoint = on.new_endpoint(side);
        assert_eq!(on.store.create_endpoint(endpoint.clone(), most).await.unwrap(), created);
        assert_eq!(on.store.endpoint(endpoint.id).await.unwrap().is_some(), created == Created::Yes);
        last = Some(endpoint.id);
    }
    on.change(last.unwrap(), EndpointChange::Delete).await;
    let again = on.store.create_endpoint(on.new_endpoint(live), 3).await.unwrap();
    assert_eq!(again, Created::Yes, "a deleted one takes no place");
}

pub async fn eight_endpoints_for_one_place(on: Subject) {
    let side = on.side().await;
    let results = eight(|_| {
        let (store, endpoint) = (on.store.clone(), on.new_endpoint(side));
        async move { store.create_endpoint(endpoint, 1).await.unwrap() }
    })
    .await;
    assert_eq!(results.iter().filter(|created| **created == Created::Yes).count(), 1);
    assert_eq!(listed(&on, side).await.len(), 1);
}

pub async fn an_endpoint_of_an_unknown_stream_is_refused(on: Subject) {
    let endpoint = on.new_endpoint(Side { stream: StreamId::new(1), ..on.side().await });
    assert!(on.store.create_endpoint(endpoint.clone(), 10).await.is_err());
    assert_eq!(on.store.endpoint(endpoint.id).await.unwrap(), None);
}

pub async fn settings_change(on: Subject) {
    let side = on.side().await;
    let (id, other) = (on.connected(side).await, on.connected(side).await);
    let (before, beside) = (read(&on, id).await, read(&on, other).await);
    for settings in [rich_settings(), settings()] {
        let after = on.resettle(id, settings.clone()).await;
        assert_eq!(after, Endpoint { settings, ..before.clone() });
        assert_eq!(read(&on, id).await, after);
    }
    assert_eq!(read(&on, other).await, beside);
}

pub async fn settings_that_have_changed_meanwhile_are_not_undone(on: Subject) {
    let id = on.connected(on.side().await).await;
    let decided_on = read(&on, id).await.settings;
    let results = eight(|number| {
        let (on, from) = (on.clone(), Box::new(decided_on.clone()));
        let to = Box::new(Settings { description: Some(number.to_string()), ..decided_on.clone() });
        async move { on.store.change_endpoint(id, EndpointChange::Settings { from, to }, START).await.unwrap() }
    })
    .await;
    let [changed] = &results.into_iter().flatten().collect::<Vec<_>>()[..] else { panic!("one of them is in time") };
    assert_eq!(read(&on, id).await, *changed);
}

pub async fn states_change_from_where_they_say(on: Subject) {
    let id = on.connected(on.side().await).await;
    let before = read(&on, id).await;
    assert_eq!(disable(&on, id, &[EndpointStatus::Paused, EndpointStatus::NotConnected]).await, None);
    assert_eq!(read(&on, id).await, before);
    let after = disable(&on, id, &[EndpointStatus::Paused, EndpointStatus::Connected]).await.unwrap();
    assert_eq!((after.status, after.status_reason.as_deref()), (EndpointStatus::Disabled, Some("answered 410")));
    assert_eq!(read(&on, id).await, after);
    assert_eq!(on.turn(id, EndpointStatus::Connected).await.status_reason, None, "the reason goes with the state");
}

pub async fn eight_changes_of_one_state(on: Subject) {
    let id = on.connected(on.side().await).await;
    let results = eight(|_| {
        let on = on.clone();
        async move { disable(&on, id, &[EndpointStatus::Connected]).await }
    })
    .await;
    assert_eq!(results.iter().flatten().count(), 1);
}

pub async fn connecting_says_when(on: Subject) {
    let id = on.endpoint(on.side().await, EndpointStatus::NotConnected).await;
    for (now, to, connected_at) in [
        (at(1), EndpointStatus::Connected, Some(at(1))),
        (at(2), EndpointStatus::Disabled, Some(at(1))),
        (at(3), EndpointStatus::Connected, Some(at(3))),
    ] {
        let change = EndpointChange::Status { from: ANY, to, reason: None, by_rule: false, failing_since: None };
        let after = on.store.change_endpoint(id, change, now).await.unwrap().unwrap();
        assert_eq!((after.status, after.connected_at), (to, connected_at));
        assert_eq!(read(&on, id).await, after);
    }
}

pub async fn what_a_person_disabled_is_enabled_by_no_rule(on: Subject) {
    let id = on.connected(on.side().await).await;
    let turn = |to, by_rule| {
        let change = EndpointChange::Status { from: ANY, to, reason: None, by_rule, failing_since: None };
        on.store.change_endpoint(id, change, START)
    };
    for (disabled_by_rule, is_enabled) in [(false, false), (true, true)] {
        turn(EndpointStatus::Disabled, disabled_by_rule).await.unwrap().unwrap();
        let after = turn(EndpointStatus::Connected, true).await.unwrap();
        assert_eq!(after.is_some_and(|after| after.by_rule), is_enabled, "and it is known how it came back");
    }
    turn(EndpointStatus::Disabled, true).await.unwrap().unwrap();
    let enabled = turn(EndpointStatus::Connected, false).await.unwrap().unwrap();
    assert!(!enabled.by_rule, "a person may enable what a rule disabled");
}

/// `connected_at` is when a handshake last succeeded, and resuming makes none.
pub async fn resuming_is_no_handshake(on: Subject) {
    let id = on.connected(on.side().await).await;
    on.change(id, EndpointChange::Pause { until: at(600) }).await;
    let after = on.store.change_endpoint(id, EndpointChange::Resume, at(60)).await.unwrap().unwrap();
    assert_eq!((after.status, after.connected_at), (EndpointStatus::Connected, Some(START)));
}

pub async fn a_deleted_endpoint_can_be_read(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    let before = read(&on, id).await;
    let after = on.change(id, EndpointChange::Delete).await;
    assert_eq!(after, Endpoint { deleted: true, ..before.clone() });
    assert_eq!(read(&on, id).await, after);
    assert!(listed(&on, side).await.is_empty());
    assert_eq!(on.store.change_endpoint(id, EndpointChange::Delete, START).await.unwrap(), None);
    assert_eq!(on.store.change_endpoint(id, other_settings(before.settings), START).await.unwrap(), None);
    assert_eq!(disable(&on, id, ANY).await, None);
}

pub async fn an_endpoint_knows_that_its_vendor_is_disabled(on: Subject) {
    let side = on.side().await;
    let id = on.connected(side).await;
    for disabled in [true, false] {
        on.store.update_vendor(side.vendor, VendorChange { disabled: Some(disabled), ..VendorChange::default() }).await.unwrap();
        let endpoint = read(&on, id).await;
        assert_eq!((endpoint.vendor_disabled, endpoint.sends()), (disabled, !disabled));
        assert_eq!(endpoint.status, EndpointStatus::Connected);
    }
}
