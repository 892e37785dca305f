//! Logins, and the operator's own tokens.

use ringback::domain::id::{TokenId, UserId, VendorId};
use ringback::domain::token::{Scope, Token, TokenHash};
use ringback::domain::user::{PasswordHash, User};
use ringback::domain::vendor::Mode;
use ringback::store::{Command, Created, LastOwner, Page, Reply};

use crate::commands::Deeds;
use crate::harness::{START, Side, Subject, at, eight, first};

fn login(on: &Subject, email: &str, vendor: Option<VendorId>) -> User {
    User::new(on.ids.next(START).into(), email.to_owned(), vendor, at(3))
}

async fn create(on: &Subject, user: &User) -> Created {
    let hash = PasswordHash("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA".to_owned());
    match on.store.command(Command::CreateUser(user.clone(), hash), START).await.unwrap() {
        Reply::Made(created) => created,
        other => panic!("not whether it was made: {other:?}"),
    }
}

async fn remove(on: &Subject, vendor: Option<VendorId>, id: UserId) -> bool {
    on.store.command(Command::RemoveUser { id, vendor, last: LastOwner::MayGo }, START).await.unwrap().took_effect()
}

async fn listed(on: &Subject, vendor: Option<VendorId>) -> Vec<User> {
    on.store.users(vendor, first(100)).await.unwrap()
}

pub async fn a_login_is_kept_as_given(on: Subject) {
    let vendor = on.vendor().await.id;
    let (theirs, ours) = (login(&on, "till@himal.example", Some(vendor)), login(&on, "ops@platform.example", None));
    assert!(listed(&on, Some(vendor)).await.is_empty() && listed(&on, None).await.is_empty());
    for user in [&theirs, &ours] {
        assert_eq!(create(&on, user).await, Created::Yes);
    }
    assert_eq!(listed(&on, Some(vendor)).await, [theirs]);
    assert_eq!(listed(&on, None).await, [ours], "the operator's is no vendor's");
    assert!(listed(&on, Some(VendorId::new(1))).await.is_empty());
}

pub async fn logins_are_listed_newest_first(on: Subject) {
    let (vendor, other) = (on.vendor().await.id, on.vendor().await.id);
    for owner in [Some(vendor), None] {
        let mut ids = Vec::new();
        for number in 0..5 {
            let user = login(&on, &format!("{number} {owner:?}"), owner);
            create(&on, &user).await;
            create(&on, &login(&on, &format!("{number} {owner:?} elsewhere"), Some(other))).await;
            ids.push(user.id);
        }
        ids.reverse();
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = on.store.users(owner, Page { before, limit: 2 }).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            seen.extend(page.iter().map(|user| user.id));
            create(&on, &login(&on, &format!("meanwhile {} {owner:?}", seen.len()), owner)).await;
        }
        assert_eq!(seen, ids, "those made while it was read come before its beginning");
    }
}

pub async fn an_address_is_taken_once(on: Subject) {
    let (vendor, other) = (on.vendor().await.id, on.vendor().await.id);
    let user = login(&on, "a@himal.example", Some(vendor));
    assert_eq!(create(&on, &user).await, Created::Yes);
    for owner in [Some(vendor), Some(other), None] {
        assert_eq!(create(&on, &login(&on, "a@himal.example", owner)).await, Created::Taken, "{owner:?}");
    }
    assert_eq!(listed(&on, Some(vendor)).await, [user]);
    assert!(listed(&on, Some(other)).await.is_empty() && listed(&on, None).await.is_empty());
}

pub async fn eight_logins_for_one_address(on: Subject) {
    let results = eight(|_| {
        let (on, user) = (on.clone(), login(&on, "a@himal.example", None));
        async move { create(&on, &user).await }
    })
    .await;
    assert_eq!(results.iter().filter(|created| **created == Created::Yes).count(), 1);
    assert_eq!(results.iter().filter(|created| **created == Created::Taken).count(), 7);
    assert_eq!(listed(&on, None).await.len(), 1);
}

pub async fn a_removed_login_is_gone(on: Subject) {
    let (vendor, other) = (on.vendor().await.id, on.vendor().await.id);
    let (theirs, ours) = (login(&on, "a@himal.example", Some(vendor)), login(&on, "ops@platform.example", None));
    create(&on, &theirs).await;
    create(&on, &ours).await;
    assert!(!remove(&on, Some(other), theirs.id).await, "it is another vendor's");
    assert!(!remove(&on, None, theirs.id).await && !remove(&on, Some(vendor), ours.id).await);
    assert!(!remove(&on, Some(vendor), UserId::new(1)).await);
    assert_eq!((listed(&on, Some(vendor)).await.len(), listed(&on, None).await.len()), (1, 1));
    assert!(remove(&on, Some(vendor), theirs.id).await && remove(&on, None, ours.id).await);
    assert!(!remove(&on, Some(vendor), theirs.id).await, "only once");
    assert!(listed(&on, Some(vendor)).await.is_empty() && listed(&on, None).await.is_empty());
    assert_eq!(create(&on, &login(&on, "a@himal.example", Some(other))).await, Created::Yes, "its address is free again");
}

pub async fn eight_removals_remove_once(on: Subject) {
    let user = login(&on, "a@himal.example", None);
    create(&on, &user).await;
    let results = eight(|_| {
        let (on, id) = (on.clone(), user.id);
        async move { remove(&on, None, id).await }
    })
    .await;
    assert_eq!(results.iter().filter(|removed| **removed).count(), 1);
}

// --- The operator's tokens -------------------------------------------------------------------------------------------

fn token(on: &Subject, scope: Scope) -> Token {
    Token {
        id: on.ids.next(START).into(),
        scope,
        name: "billing".to_owned(),
        allowed_ips: Vec::new(),
        created_at: at(7),
        last_used_at: None,
    }
}

async fn operators(on: &Subject) -> Vec<TokenId> {
    on.store.tokens(None, first(100)).await.unwrap().into_iter().map(|token| token.id).collect()
}

pub async fn the_operators_tokens_are_listed_newest_first(on: Subject) {
    let vendor = on.vendor().await;
    let Side { vendor, stream, mode } = Side::of(&vendor, Mode::Live);
    assert!(operators(&on).await.is_empty());
    let mut ids = Vec::new();
    for number in 0..5 {
        for scope in [Scope::Operator, Scope::Vendor { vendor, mode, stream }] {
            let token = token(&on, scope);
            ids.extend((scope == Scope::Operator).then_some(token.id));
            on.store.create_token(token, TokenHash::of(&format!("{number} {scope:?}"))).await.unwrap();
        }
    }
    ids.reverse();
    assert_eq!(operators(&on).await, ids);
    let page = on.store.tokens(None, Page { before: Some(ids[1]), limit: 2 }).await.unwrap();
    assert_eq!(page.into_iter().map(|token| token.id).collect::<Vec<_>>(), ids[2..4]);
}

pub async fn the_operators_tokens_are_revoked_by_the_operator_alone(on: Subject) {
    let vendor = on.vendor().await;
    let Side { vendor, stream, mode } = Side::of(&vendor, Mode::Live);
    let (ours, theirs) = (token(&on, Scope::Operator), token(&on, Scope::Vendor { vendor, mode, stream }));
    let (our_hash, their_hash) = (TokenHash::of("ours"), TokenHash::of("theirs"));
    on.store.create_token(ours.clone(), our_hash).await.unwrap();
    on.store.create_token(theirs.clone(), their_hash).await.unwrap();
    let revoke = async |id, vendor| on.store.command(Command::RevokeToken { id, vendor }, at(9)).await.unwrap().took_effect();
    assert!(!revoke(theirs.id, None).await && !revoke(ours.id, Some(vendor)).await && !revoke(TokenId::new(1), None).await);
    assert!(on.store.token(our_hash).await.unwrap().is_some() && on.store.token(their_hash).await.unwrap().is_some());
    assert!(revoke(ours.id, None).await);
    assert!(!revoke(ours.id, None).await, "only once");
    assert_eq!(on.store.token(our_hash).await.unwrap(), None);
    assert!(operators(&on).await.is_empty() && on.store.token(their_hash).await.unwrap().is_some());
}
