//! Vendors and tokens.

use ringback::domain::id::{StreamId, TokenId, VendorId};
use ringback::domain::token::{Scope, Token, TokenHash};
use ringback::domain::vendor::{Mode, Vendor};
use ringback::store::{Page, StoreError, VendorChange};

use crate::commands::Deeds;
use crate::harness::{START, Side, Subject, at, eight, first};

fn token(on: &Subject, scope: Scope) -> Token {
    let allowed_ips = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::1/128".parse().unwrap()];
    Token { id: on.ids.next(START).into(), scope, name: "till 3".to_owned(), allowed_ips, created_at: at(7), last_used_at: None }
}

fn scope(vendor: &Vendor, mode: Mode) -> Scope {
    let Side { vendor, stream, mode } = Side::of(vendor, mode);
    Scope::Vendor { vendor, mode, stream }
}

async fn tokens(on: &Subject, vendor: VendorId) -> Vec<TokenId> {
    on.store.tokens(Some(vendor), first(10)).await.unwrap().into_iter().map(|token| token.id).collect()
}

pub async fn a_vendor_is_kept_as_given(on: Subject) {
    let vendor = on.new_vendor();
    let tokens = Mode::ALL.map(|mode| (token(&on, scope(&vendor, mode)), TokenHash::of(mode.as_str())));
    on.store.create_vendor(vendor.clone(), tokens.to_vec()).await.unwrap();
    assert_eq!(on.store.vendor(vendor.id).await.unwrap(), Some(vendor.clone()));
    for mode in Mode::ALL {
        assert_eq!(on.store.owner(vendor.stream(mode)).await.unwrap(), Some((vendor.id, mode)));
    }
    for (token, hash) in tokens {
        assert_eq!(on.store.token(hash).await.unwrap(), Some(token));
    }
    on.store.ready().await.unwrap();
}

pub async fn no_vendor(on: Subject) {
    assert_eq!(on.store.vendor(VendorId::new(1)).await.unwrap(), None);
    assert_eq!(on.store.vendors(first(10)).await.unwrap(), []);
    assert_eq!(on.store.owner(StreamId::new(1)).await.unwrap(), None);
    assert_eq!(on.store.update_vendor(VendorId::new(1), VendorChange::default()).await.unwrap(), None);
    assert_eq!(on.store.tokens(Some(VendorId::new(1)), first(10)).await.unwrap(), []);
}

pub async fn vendors_are_listed_newest_first(on: Subject) {
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(on.vendor().await.id);
    }
    ids.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = on.store.vendors(Page { before, limit: 2 }).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(|vendor| vendor.id));
        on.vendor().await;
    }
    assert_eq!(seen, ids, "those made while it was read come before its beginning");
}

pub async fn eight_of_the_same_vendor_are_one(on: Subject) {
    let vendor = on.new_vendor();
    let results = eight(|_| {
        let (store, vendor) = (on.store.clone(), vendor.clone());
        async move { store.create_vendor(vendor, Vec::new()).await }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(StoreError::Rejected(_)))), "{results:?}");
    assert_eq!(on.store.vendors(first(10)).await.unwrap(), [vendor]);
}

pub async fn a_vendor_changes(on: Subject) {
    let (mut vendor, other) = (on.vendor().await, on.vendor().await);
    let change = VendorChange { name: Some("Everest".to_owned()), ..VendorChange::default() };
    vendor.name = "Everest".to_owned();
    assert_eq!(on.store.update_vendor(vendor.id, change).await.unwrap(), Some(vendor.clone()));
    let change = VendorChange { email: Some("new@everest.example".to_owned()), disabled: Some(true), ..VendorChange::default() };
    (vendor.email, vendor.disabled) = ("new@everest.example".to_owned(), true);
    assert_eq!(on.store.update_vendor(vendor.id, change).await.unwrap(), Some(vendor.clone()));
    assert_eq!(on.store.update_vendor(vendor.id, VendorChange::default()).await.unwrap(), Some(vendor.clone()));
    assert_eq!(on.store.vendor(vendor.id).await.unwrap(), Some(vendor));
    assert_eq!(on.store.vendor(other.id).await.unwrap(), Some(other));
}

pub async fn tokens_open_what_they_say(on: Subject) {
    let vendor = on.vendor().await;
    for (at, scope) in [Scope::Operator, scope(&vendor, Mode::Live), scope(&vendor, Mode::Test)].into_iter().enumerate() {
        let (token, hash) = (token(&on, scope), TokenHash::of(&at.to_string()));
        on.store.create_token(token.clone(), hash).await.unwrap();
        assert_eq!(on.store.token(hash).await.unwrap(), Some(token));
    }
    assert_eq!(on.store.token(TokenHash::of("another")).await.unwrap(), None);
    assert_eq!(tokens(&on, vendor.id).await.len(), 2, "the operator's is no vendor's");
}

pub async fn tokens_are_listed_newest_first(on: Subject) {
    let (vendor, other) = (on.vendor().await, on.vendor().await);
    let mut ids = Vec::new();
    for number in 0..5 {
        for (vendor, mine) in [(&vendor, true), (&other, false)] {
            let token = token(&on, scope(vendor, Mode::Live));
            ids.extend(mine.then_some(token.id));
            on.store.create_token(token, TokenHash::of(&format!("{number} {mine}"))).await.unwrap();
        }
    }
    ids.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = on.store.tokens(Some(vendor.id), Page { before, limit: 2 }).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(|token| token.id));
        on.store.create_token(token(&on, scope(&vendor, Mode::Live)), TokenHash::of(&format!("meanwhile {}", seen.len()))).await.unwrap();
    }
    assert_eq!(seen, ids);
}

pub async fn a_hash_is_taken_once(on: Subject) {
    let vendor = on.vendor().await;
    let results = eight(|_| {
        let (store, token) = (on.store.clone(), token(&on, scope(&vendor, Mode::Live)));
        async move { store.create_token(token, TokenHash::of("the same")).await }
    })
    .await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(tokens(&on, vendor.id).await.len(), 1);
}

pub async fn a_revoked_token_is_gone(on: Subject) {
    let (vendor, other) = (on.vendor().await, on.vendor().await);
    let (token, hash) = (token(&on, scope(&vendor, Mode::Live)), TokenHash::of("mine"));
    on.store.create_token(token.clone(), hash).await.unwrap();
    assert!(!on.store.revoke_token(other.id, token.id, START).await.unwrap(), "it is another vendor's");
    assert!(!on.store.revoke_token(vendor.id, TokenId::new(1), START).await.unwrap());
    assert_eq!(on.store.token(hash).await.unwrap(), Some(token.clone()));
    assert!(on.store.revoke_token(vendor.id, token.id, START).await.unwrap());
    assert_eq!(on.store.token(hash).await.unwrap(), None);
    assert_eq!(tokens(&on, vendor.id).await, []);
    assert!(!on.store.revoke_token(vendor.id, token.id, START).await.unwrap());
}

pub async fn eight_revocations_revoke_once(on: Subject) {
    let vendor = on.vendor().await;
    let token = token(&on, scope(&vendor, Mode::Test));
    on.store.create_token(token.clone(), TokenHash::of("mine")).await.unwrap();
    let results = eight(|_| {
        let (store, vendor, token) = (on.store.clone(), vendor.id, token.id);
        async move { store.revoke_token(vendor, token, START).await.unwrap() }
    })
    .await;
    assert_eq!(results.iter().filter(|revoked| **revoked).count(), 1);
}

pub async fn a_disabled_vendors_tokens_are_refused(on: Subject) {
    let vendor = on.vendor().await;
    let (mine, operators) = (TokenHash::of("mine"), TokenHash::of("operator"));
    on.store.create_token(token(&on, scope(&vendor, Mode::Live)), mine).await.unwrap();
    on.store.create_token(token(&on, Scope::Operator), operators).await.unwrap();
    for (disabled, found) in [(true, false), (false, true)] {
        let change = VendorChange { disabled: Some(disabled), ..VendorChange::default() };
        on.store.update_vendor(vendor.id, change).await.unwrap();
        assert_eq!(on.store.token(mine).await.unwrap().is_some(), found);
        assert!(on.store.token(operators).await.unwrap().is_some());
        assert_eq!(tokens(&on, vendor.id).await.len(), 1, "it is still listed");
    }
}

pub async fn a_refused_vendor_leaves_nothing(on: Subject) {
    let (vendor, hash) = (on.new_vendor(), TokenHash::of("the same"));
    let tokens = Mode::ALL.map(|mode| (token(&on, scope(&vendor, mode)), hash)).to_vec();
    let refused = on.store.create_vendor(vendor.clone(), tokens).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    assert_eq!(on.store.vendor(vendor.id).await.unwrap(), None);
    assert_eq!(on.store.owner(vendor.stream(Mode::Live)).await.unwrap(), None);
    assert_eq!(on.store.token(hash).await.unwrap(), None);
}
