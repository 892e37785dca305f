//! The audit log: what is noted, when, and how it is found again.

use std::time::Duration;

use ringback::domain::audit::{Actor, Entry, Note};
use ringback::domain::conflict::CaseState;
use ringback::domain::endpoint::EndpointStatus;
use ringback::domain::id::{AuditId, ConflictId, DeliveryId, EndpointId, RechargeId, ReplayId, TokenId, UserId, VendorId};
use ringback::domain::recharge::{Details, Report, Status};
use ringback::domain::time::Timestamp;
use ringback::domain::user::{PasswordHash, User};
use ringback::domain::vendor::Mode;
use ringback::limits;
use ringback::store::{AuditQuery, Change, Command, EndpointChange, LastOwner, Page, Reply, TimeRange, VendorChange, Write};
use serde_json::json;

use crate::commands::Deeds;
use crate::harness::{ANY, DAY, START, Subject, at, eight, first, just_before};

/// A note that says nothing but what was done.
pub fn note(action: &'static str) -> Note {
    let details = json!({});
    Note { actor: Actor::CommandLine, address: None, vendor: None, mode: None, action, object: String::new(), details }
}

fn query() -> AuditQuery {
    AuditQuery { vendor: None, action: None, range: TimeRange::default(), page: first(100) }
}

async fn listed(on: &Subject, query: AuditQuery) -> Vec<Entry> {
    let listed = on.store.audit(query).await.unwrap();
    assert_eq!(listed.next, None);
    listed.items
}

async fn noted(on: &Subject, now: Timestamp, note: Note) {
    let done = on.store.act(Change { command: Command::Note, now, note: Some(note), keep: None }).await.unwrap().0;
    assert!(matches!(done, Reply::Noted));
}

async fn actions(on: &Subject, query: AuditQuery) -> Vec<String> {
    listed(on, query).await.into_iter().map(|entry| entry.action).collect()
}

pub async fn a_note_is_kept_as_given(on: Subject) {
    assert!(listed(&on, query()).await.is_empty());
    let (token, user, vendor) = (TokenId::new(5), UserId::new(6), VendorId::new(7));
    let actors = [Actor::Operator(token), Actor::Vendor(token), Actor::User(user), Actor::CommandLine, Actor::Rule];
    for (second, actor) in (0..).zip(actors) {
        let (details, object) = (json!({"url": "https://vendor.example/", "missed": [1, null, "ü"]}), format!("ep_{second}"));
        let (address, mode) = ((second % 2 == 0).then(|| "2001:db8::1".parse().unwrap()), Some(Mode::Test));
        let note = Note { actor, address, vendor: Some(vendor), mode, action: "endpoint.changed", object, details };
        noted(&on, at(second), note.clone()).await;
        let entry = listed(&on, query()).await.remove(0);
        let expected = Entry {
            id: entry.id,
            at: at(second),
            actor: actor.to_string(),
            address: address.map(|address: std::net::IpAddr| address.to_string()),
            vendor: Some(vendor),
            mode,
            action: note.action.to_owned(),
            object: note.object,
            details: note.details,
        };
        assert_eq!(entry, expected);
    }
    noted(&on, at(9), note("login")).await;
    let bare = listed(&on, query()).await.remove(0);
    assert_eq!((bare.address, bare.vendor, bare.mode), (None, None, None));
}

/// Deeds of which nothing can come: what they are about is not there, or not so.
async fn in_vain(on: &Subject) -> Vec<Command> {
    let side = on.side().await;
    let (id, deadline) = (EndpointId::new(1), DAY);
    let delivery = DeliveryId { endpoint: id, sequence: 1 };
    let taken = User::new(on.ids.next(START).into(), "a@himal.example".to_owned(), None, START);
    on.store.command(Command::CreateUser(taken.clone(), PasswordHash(String::new())), START).await.unwrap();
    let again = User { id: on.ids.next(START).into(), ..taken };
    let to = EndpointStatus::Connected;
    let change = EndpointChange::Status { from: ANY, to, reason: None, by_rule: false, failing_since: None };
    let report = Report { reference_no: String::new(), status: Status::Success, details: Details::default(), occurred_at: None };
    vec![
        Command::UpdateVendor(VendorId::new(1), VendorChange::default()),
        Command::RevokeToken { id: TokenId::new(1), vendor: None },
        Command::CreateUser(again, PasswordHash(String::new())),
        Command::RemoveUser { id: UserId::new(1), vendor: None, last: LastOwner::MayGo },
        Command::CreateEndpoint { endpoint: Box::new(on.new_endpoint(side)), most: 0 },
        Command::ChangeEndpoint { id, change, deadline },
        Command::Warn(id, DAY),
        Command::Probed(id),
        Command::Resend { id: delivery, deadline },
        Command::Cancel(delivery),
        Command::CancelReplay(ReplayId::new(1)),
        Command::Resolve { id: ConflictId::new(1), to: CaseState::Dismissed, reason: String::new(), by: String::new(), deadline },
        Command::SettleRecharge { id: RechargeId::new(1), report: Box::new(report), deadline },
    ]
}

pub async fn what_did_not_come_to_pass_is_not_noted(on: Subject) {
    for command in in_vain(&on).await {
        let what = format!("{command:?}");
        let change = Change { command, now: START, note: Some(note("in.vain")), keep: None };
        assert!(!on.store.act(change).await.unwrap().0.took_effect(), "{what}");
        assert!(listed(&on, query()).await.is_empty(), "{what}");
    }
}

pub async fn a_refused_change_is_not_noted(on: Subject) {
    let vendor = on.vendor().await;
    let command = Command::CreateVendor(vendor, Vec::new());
    assert!(on.store.act(Change { command, now: START, note: Some(note("vendor.created")), keep: None }).await.is_err());
    assert!(listed(&on, query()).await.is_empty());
}

pub async fn entries_are_listed_newest_first(on: Subject) {
    for second in 0..5 {
        noted(&on, at(second), Note { object: second.to_string(), ..note("x.y") }).await;
    }
    let (mut seen, mut before) = (Vec::new(), None::<AuditId>);
    loop {
        let part = on.store.audit(AuditQuery { page: Page { before, limit: 2 }, ..query() }).await.unwrap();
        seen.extend(part.items.into_iter().map(|entry| entry.object));
        noted(&on, at(100), note("mean.while")).await;
        before = part.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"], "those made while it was read come before its beginning");
}

pub async fn entries_are_chosen_by_what_they_are(on: Subject) {
    let (one, other) = (VendorId::new(1), VendorId::new(2));
    for (vendor, action) in [
        (Some(one), "endpoint.changed"),
        (Some(one), "endpoint.deleted"),
        (Some(other), "endpoint.changed"),
        (None, "token.created"),
        (Some(one), "endpointless"),
    ] {
        noted(&on, START, Note { vendor, ..note(action) }).await;
    }
    let chosen = |vendor, action: &str| {
        let action = (!action.is_empty()).then(|| action.to_owned());
        actions(&on, AuditQuery { vendor, action, ..query() })
    };
    assert_eq!(chosen(None, "").await.len(), 5);
    assert_eq!(chosen(Some(one), "").await, ["endpointless", "endpoint.deleted", "endpoint.changed"]);
    assert_eq!(chosen(Some(one), "endpoint.").await, ["endpoint.deleted", "endpoint.changed"], "all of a kind");
    assert_eq!(chosen(None, "endpoint.changed").await.len(), 2);
    assert_eq!(chosen(Some(other), "endpoint.changed").await.len(), 1);
    for nothing in ["endpoint", "changed", "endpoint.change"] {
        assert!(chosen(None, nothing).await.is_empty(), "{nothing}");
    }
    assert!(chosen(Some(VendorId::new(3)), "").await.is_empty());
}

pub async fn entries_are_chosen_by_their_time(on: Subject) {
    let vendor = VendorId::new(1);
    for second in 0..4 {
        noted(&on, at(second), Note { vendor: Some(vendor), object: second.to_string(), ..note("x.y") }).await;
    }
    for vendor in [None, Some(vendor)] {
        let between = async |since, until| {
            let entries = listed(&on, AuditQuery { vendor, range: TimeRange { since, until }, ..query() }).await;
            entries.into_iter().map(|entry| entry.object).collect::<Vec<_>>()
        };
        assert_eq!(between(Some(at(1)), Some(at(3))).await, ["2", "1"], "since is inclusive, until is not");
        assert_eq!(between(Some(just_before(at(1))), Some(just_before(at(3)))).await, ["2", "1"]);
        assert_eq!(between(Some(at(3)), None).await, ["3"]);
        assert_eq!(between(None, Some(at(1))).await, ["0"]);
        assert!(between(Some(at(2)), Some(at(2))).await.is_empty());
    }
}

/// A list looks at so many rows at a time; what lies behind them is found all the same.
pub async fn an_entry_behind_very_many_is_found(on: Subject) {
    noted(&on, START, note("rare.thing")).await;
    let again = |_| Write::Change(Box::new(Change { command: Command::Note, now: at(1), note: Some(note("common.thing")), keep: None }));
    on.commit((0..=limits::SCAN_MAX).map(again).collect()).await;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let part =
            on.store.audit(AuditQuery { action: Some("rare.".to_owned()), page: Page { before, limit: 10 }, ..query() }).await.unwrap();
        seen.extend(part.items.into_iter().map(|entry| entry.action));
        before = part.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["rare.thing"]);
}

pub async fn eight_notes_are_eight_entries(on: Subject) {
    eight(|number| {
        let on = on.clone();
        async move { noted(&on, START.plus(Duration::from_millis(number as u64 % 2)), note("x.y")).await }
    })
    .await;
    let entries = listed(&on, query()).await;
    assert_eq!(entries.len(), 8);
    assert!(entries.windows(2).all(|pair| pair[0].id > pair[1].id), "{entries:?}");
}
