//! People: what a login is judged by, who is logged in, one-time links, and tokens that are in use.

use std::time::Duration;

use ringback::domain::alert::Email;
use ringback::domain::id::{TokenId, UserId, VendorId};
use ringback::domain::secret::Secret;
use ringback::domain::session::{Device, Link, LoggedIn, Purpose, Session, Ticket};
use ringback::domain::time::Timestamp;
use ringback::domain::token::{Scope, Token, TokenHash};
use ringback::domain::user::{PasswordHash, Role, SecondFactor, User};
use ringback::domain::vendor::Mode;
use ringback::limits;
use ringback::store::{Command, Created, LastOwner, NewPassword, Redeemed, Redeeming, Reply, VendorChange};

use crate::commands::Deeds;
use crate::harness::{START, Side, Subject, at, eight, first, just_before};

fn hash(text: &str) -> TokenHash {
    Ticket::given(text).hash()
}

fn password(text: &str) -> PasswordHash {
    PasswordHash(format!("$argon2id${text}"))
}

pub async fn login(on: &Subject, email: &str, vendor: Option<VendorId>) -> User {
    let user = User { role: Role::Developer, ..User::new(on.ids.next(START).into(), email.to_owned(), vendor, START) };
    let made = on.store.command(Command::CreateUser(user.clone(), password("first")), START).await.unwrap();
    assert!(matches!(made, Reply::Made(Created::Yes)));
    user
}

fn session(on: &Subject, user: Option<&User>, vendor: Option<VendorId>) -> Session {
    Session {
        id: on.ids.next(START).into(),
        user: user.map(|user| user.id),
        vendor,
        role: Role::Viewer,
        awaits_second_factor: false,
        address: "203.0.113.9".parse().ok(),
        created_at: START,
        expires_at: at(100),
    }
}

async fn log_in(on: &Subject, session: &Session, ticket: &str, instead_of: Option<&str>) -> bool {
    let command = Command::LogIn { session: Box::new(session.clone()), hash: hash(ticket), instead_of: instead_of.map(hash), device: None };
    on.store.command(command, START).await.unwrap().took_effect()
}

async fn who(on: &Subject, ticket: &str, now: Timestamp) -> Option<LoggedIn> {
    on.store.session(hash(ticket), now).await.unwrap()
}

async fn is_in(on: &Subject, ticket: &str) -> bool {
    who(on, ticket, START).await.is_some()
}

async fn does(on: &Subject, command: Command) -> bool {
    on.store.command(command, START).await.unwrap().took_effect()
}

// --- Sessions --------------------------------------------------------------------------------------------------------

pub async fn a_session_is_kept_as_given(on: Subject) {
    let vendor = on.vendor().await;
    let user = login(&on, "a@himal.example", Some(vendor.id)).await;
    let (theirs, by_link, ours) =
        (session(&on, Some(&user), Some(vendor.id)), session(&on, None, Some(vendor.id)), session(&on, None, None));
    for (session, ticket) in [(&theirs, "theirs"), (&by_link, "by link"), (&ours, "ours")] {
        assert!(log_in(&on, session, ticket, None).await);
    }
    let found = who(&on, "theirs", START).await.unwrap();
    assert_eq!(found.session, Session { role: Role::Developer, ..theirs }, "the role is the login's, as it is now");
    assert_eq!((found.email.as_deref(), found.has_second_factor, found.vendor), (Some("a@himal.example"), false, Some(vendor.clone())));
    let found = who(&on, "by link", START).await.unwrap();
    assert_eq!((found.session, found.email, found.vendor), (by_link, None, Some(vendor)));
    assert_eq!(who(&on, "ours", START).await.unwrap().vendor, None);
    assert_eq!(who(&on, "nobody's", START).await, None);
}

pub async fn a_session_ends_when_it_says(on: Subject) {
    log_in(&on, &session(&on, None, None), "ticket", None).await;
    assert!(who(&on, "ticket", just_before(at(100))).await.is_some());
    assert_eq!(who(&on, "ticket", at(100)).await, None);
}

pub async fn a_session_ends_by_logging_out(on: Subject) {
    let user = login(&on, "a@himal.example", None).await;
    for ticket in ["one", "two", "three"] {
        log_in(&on, &session(&on, Some(&user), None), ticket, None).await;
    }
    log_in(&on, &session(&on, None, None), "another's", None).await;
    assert!(does(&on, Command::LogOut(hash("one"))).await && !does(&on, Command::LogOut(hash("one"))).await);
    assert!(!is_in(&on, "one").await && is_in(&on, "two").await);
    does(&on, Command::LogOutEverywhere(user.id)).await;
    assert!(!is_in(&on, "two").await && !is_in(&on, "three").await && is_in(&on, "another's").await);
}

pub async fn a_session_ends_with_its_login_and_its_vendor(on: Subject) {
    let vendor = on.vendor().await;
    let user = login(&on, "a@himal.example", Some(vendor.id)).await;
    log_in(&on, &session(&on, Some(&user), Some(vendor.id)), "login's", None).await;
    log_in(&on, &session(&on, None, Some(vendor.id)), "vendor's", None).await;
    on.store.update_vendor(vendor.id, VendorChange { disabled: Some(true), ..VendorChange::default() }).await.unwrap();
    assert!(!is_in(&on, "login's").await && !is_in(&on, "vendor's").await);
    on.store.update_vendor(vendor.id, VendorChange { disabled: Some(false), ..VendorChange::default() }).await.unwrap();
    assert!(is_in(&on, "login's").await && is_in(&on, "vendor's").await);
    assert!(does(&on, Command::RemoveUser { id: user.id, vendor: Some(vendor.id), last: LastOwner::MayGo }).await);
    assert!(!is_in(&on, "login's").await && is_in(&on, "vendor's").await);
}

pub async fn a_session_takes_anothers_place_once(on: Subject) {
    log_in(&on, &session(&on, None, None), "half", None).await;
    let results = eight(|number| {
        let (on, whole) = (on.clone(), session(&on, None, None));
        async move { log_in(&on, &whole, &format!("whole {number}"), Some("half")).await }
    })
    .await;
    assert_eq!(results.iter().filter(|begun| **begun).count(), 1);
    assert!(!is_in(&on, "half").await);
    let mut alive = 0;
    for number in 0..8 {
        alive += usize::from(is_in(&on, &format!("whole {number}")).await);
    }
    assert_eq!(alive, 1);
}

pub async fn a_browser_is_known_until_the_password_changes(on: Subject) {
    let (user, other) = (login(&on, "a@himal.example", None).await, login(&on, "b@himal.example", None).await);
    let remember = async |user: &User, ticket: &str| {
        let device = Some(Device { hash: hash(ticket), expires_at: at(50) });
        let session = Box::new(session(&on, Some(user), None));
        does(&on, Command::LogIn { session, hash: hash(&format!("in by {ticket}")), instead_of: None, device }).await
    };
    let knows = async |ticket: &str, email: &str, now| on.store.knows_device(hash(ticket), email.to_owned(), now).await.unwrap();
    assert!(remember(&user, "phone").await && remember(&user, "laptop").await && remember(&other, "other's").await);
    assert!(knows("phone", "a@himal.example", just_before(at(50))).await && knows("laptop", "a@himal.example", START).await);
    assert!(!knows("phone", "a@himal.example", at(50)).await, "it is forgotten after its time");
    assert!(!knows("phone", "b@himal.example", START).await && !knows("another", "a@himal.example", START).await);
    does(&on, Command::SetPassword(user.id, NewPassword { hash: password("second"), keep: None })).await;
    assert!(!knows("phone", "a@himal.example", START).await && !knows("laptop", "a@himal.example", START).await);
    assert!(knows("other's", "b@himal.example", START).await);
    does(&on, Command::LogOutEverywhere(other.id)).await;
    assert!(!knows("other's", "b@himal.example", START).await);
    for number in 0..25 {
        remember(&user, &number.to_string()).await;
    }
    assert!(!knows("4", "a@himal.example", START).await && knows("5", "a@himal.example", START).await, "the latest twenty are known");
}

pub async fn a_second_factor_is_proposed_once_in_a_session(on: Subject) {
    let user = login(&on, "a@himal.example", None).await;
    log_in(&on, &session(&on, Some(&user), None), "ticket", None).await;
    let propose =
        async |ticket: &str, secret: &[u8]| does(&on, Command::Propose { session: hash(ticket), secret: Secret::new(secret) }).await;
    let proposed = async || on.store.proposed(hash("ticket")).await.unwrap().map(|secret| secret.expose().to_vec());
    assert_eq!(proposed().await, None);
    assert!(!propose("nobody's", b"first").await && propose("ticket", b"first").await && !propose("ticket", b"second").await);
    assert_eq!(proposed().await.as_deref(), Some(&b"first"[..]));
    assert_eq!(on.store.proposed(hash("nobody's")).await.unwrap(), None);
}

pub async fn the_first_operator_is_one(on: Subject) {
    let vendor = on.vendor().await.id;
    login(&on, "taken@himal.example", Some(vendor)).await;
    let create = |number: usize, email: &'static str| {
        let on = on.clone();
        async move {
            let email = if email.is_empty() { format!("{number}@ops.example") } else { email.to_owned() };
            let user = User { role: Role::Owner, ..User::new(on.ids.next(START).into(), email, None, START) };
            match on.store.command(Command::CreateFirstOperator(user, password("first")), START).await.unwrap() {
                Reply::Made(created) => created,
                _ => panic!("it is made or not"),
            }
        }
    };
    assert_eq!(create(0, "taken@himal.example").await, Created::Taken);
    // Several nodes have a link each, and all are followed at once.
    let results = eight(|number| create(number, "")).await;
    assert_eq!(results.iter().filter(|created| **created == Created::Yes).count(), 1, "{results:?}");
    assert_eq!(results.iter().filter(|created| **created == Created::LimitReached).count(), 7, "{results:?}");
    assert_eq!(on.store.users(None, first(9)).await.unwrap().len(), 1);
}

pub async fn the_last_owner_stays(on: Subject) {
    let vendor = on.vendor().await.id;
    let owner = async |email: &str, vendor| {
        let user = User { role: Role::Owner, ..User::new(on.ids.next(START).into(), email.to_owned(), vendor, START) };
        on.store.command(Command::CreateUser(user.clone(), password("first")), START).await.unwrap();
        user.id
    };
    let owners = [owner("a@himal.example", Some(vendor)).await, owner("b@himal.example", Some(vendor)).await];
    login(&on, "developer@himal.example", Some(vendor)).await;
    // They demote each other, all at once.
    let results = eight(|number| {
        let (on, id) = (on.clone(), owners[number % 2]);
        async move { on.store.command(Command::SetRole { id, vendor, role: Role::Viewer, last: LastOwner::Stays }, START).await.unwrap() }
    })
    .await;
    assert!(results.iter().any(|done| matches!(done, Reply::LastOwner)));
    let users = on.store.users(Some(vendor), first(9)).await.unwrap();
    let left: Vec<UserId> = users.iter().filter(|user| user.role == Role::Owner).map(|user| user.id).collect();
    let &[last] = left.as_slice() else { panic!("one is left, not {left:?}") };
    let remove = async |id, vendor, last| on.store.command(Command::RemoveUser { id, vendor, last }, START).await.unwrap();
    assert!(matches!(remove(last, Some(vendor), LastOwner::Stays).await, Reply::LastOwner));
    assert!(remove(last, Some(vendor), LastOwner::MayGo).await.took_effect(), "the operator may");
    let operators = [owner("x@ops.example", None).await, owner("y@ops.example", None).await];
    assert!(remove(operators[0], None, LastOwner::Stays).await.took_effect());
    assert!(matches!(remove(operators[1], None, LastOwner::Stays).await, Reply::LastOwner));
}

// --- What a login is judged by ---------------------------------------------------------------------------------------

fn factor(used: i64) -> SecondFactor {
    SecondFactor { secret: Secret::new(*b"twenty bytes of it.."), used, codes: vec![[7; 32], [8; 32]] }
}

async fn change_factor(on: &Subject, id: UserId, from: Option<SecondFactor>, to: Option<SecondFactor>) -> bool {
    does(on, Command::ChangeSecondFactor { id, from, to }).await
}

pub async fn credentials_are_found_by_their_address(on: Subject) {
    let vendor = on.vendor().await.id;
    let user = login(&on, "a@himal.example", Some(vendor)).await;
    let found = on.store.credentials("a@himal.example".to_owned()).await.unwrap().unwrap();
    assert_eq!((found.user, found.password, found.second_factor), (user, password("first"), None));
    assert_eq!(on.store.credentials("b@himal.example".to_owned()).await.unwrap(), None);
}

pub async fn a_second_factor_changes_from_what_was_read(on: Subject) {
    let user = login(&on, "a@himal.example", None).await;
    assert!(!change_factor(&on, UserId::new(1), None, Some(factor(0))).await, "there is no such login");
    assert!(!change_factor(&on, user.id, Some(factor(0)), Some(factor(1))).await, "it has none");
    assert!(change_factor(&on, user.id, None, Some(factor(0))).await);
    assert!(!change_factor(&on, user.id, None, Some(factor(5))).await, "it has one already");
    let found = on.store.credentials("a@himal.example".to_owned()).await.unwrap().unwrap();
    assert_eq!((found.second_factor, found.user.second_factor), (Some(factor(0)), true));
    log_in(&on, &session(&on, Some(&user), None), "ticket", None).await;
    assert!(who(&on, "ticket", START).await.unwrap().has_second_factor);
    let results = eight(|_| {
        let (on, id) = (on.clone(), user.id);
        async move { change_factor(&on, id, Some(factor(0)), Some(factor(9))).await }
    })
    .await;
    assert_eq!(results.iter().filter(|used| **used).count(), 1, "the same digits are good once");
    assert!(change_factor(&on, user.id, Some(factor(9)), None).await);
    assert!(!on.store.users(None, first(9)).await.unwrap()[0].second_factor);
}

pub async fn a_new_password_ends_other_sessions(on: Subject) {
    let (user, other) = (login(&on, "a@himal.example", None).await, login(&on, "b@himal.example", None).await);
    for (user, ticket) in [(&user, "this"), (&user, "lost"), (&other, "other's")] {
        log_in(&on, &session(&on, Some(user), None), ticket, None).await;
    }
    let new = |text: &str, keep: Option<&str>| NewPassword { hash: password(text), keep: keep.map(hash) };
    assert!(!does(&on, Command::SetPassword(UserId::new(1), new("second", None))).await);
    assert!(does(&on, Command::SetPassword(user.id, new("second", Some("this")))).await);
    assert!(is_in(&on, "this").await && !is_in(&on, "lost").await && is_in(&on, "other's").await);
    assert_eq!(on.store.credentials("a@himal.example".to_owned()).await.unwrap().unwrap().password, password("second"));
    assert!(does(&on, Command::SetPassword(user.id, new("third", None))).await);
    assert!(!is_in(&on, "this").await);
}

pub async fn a_role_is_changed_by_its_vendor(on: Subject) {
    let (vendor, other) = (on.vendor().await.id, on.vendor().await.id);
    let user = login(&on, "a@himal.example", Some(vendor)).await;
    log_in(&on, &session(&on, Some(&user), Some(vendor)), "ticket", None).await;
    let set = async |vendor, id| does(&on, Command::SetRole { id, vendor, role: Role::Viewer, last: LastOwner::MayGo }).await;
    assert!(!set(other, user.id).await && !set(vendor, UserId::new(1)).await);
    assert!(set(vendor, user.id).await);
    assert_eq!(on.store.users(Some(vendor), first(9)).await.unwrap()[0].role, Role::Viewer);
    assert_eq!(who(&on, "ticket", START).await.unwrap().session.role, Role::Viewer, "at once");
}

// --- Links -----------------------------------------------------------------------------------------------------------

fn link(on: &Subject, purpose: Purpose) -> Link {
    Link { id: on.ids.next(START).into(), purpose, created_at: START, expires_at: at(50) }
}

fn invitation(on: &Subject, email: &str, vendor: Option<VendorId>) -> Link {
    link(on, Purpose::Invitation { email: email.to_owned(), vendor, role: Role::Viewer })
}

async fn create(on: &Subject, link: &Link, ticket: &str) -> bool {
    let letter = Some(Email { to: "a@himal.example".to_owned(), title: "Come in".to_owned(), text: Secret::new("with this link") });
    on.store.command(Command::CreateLink { link: link.clone(), hash: hash(ticket), letter }, START).await.unwrap().took_effect()
}

async fn redeem(on: &Subject, ticket: &str, redeeming: Redeeming, now: Timestamp) -> Redeemed {
    match on.store.command(Command::Redeem(hash(ticket), Box::new(redeeming)), now).await.unwrap() {
        Reply::Redeemed(redeemed) => redeemed,
        other => panic!("not what became of it: {other:?}"),
    }
}

fn invited(on: &Subject, email: &str) -> Redeeming {
    Redeeming::Login(User::new(on.ids.next(START).into(), email.to_owned(), None, START), password("chosen"))
}

pub async fn a_link_is_kept_as_given(on: Subject) {
    let vendor = on.vendor().await.id;
    let user = login(&on, "a@himal.example", Some(vendor)).await;
    let lifetime = Duration::from_secs(3600);
    let links = [
        invitation(&on, "b@himal.example", Some(vendor)),
        invitation(&on, "c@himal.example", None),
        link(&on, Purpose::Reset { user: user.id }),
        link(&on, Purpose::Panel { vendor, role: Role::Developer, lifetime }),
    ];
    for (number, link) in links.iter().enumerate() {
        create(&on, link, &number.to_string()).await;
    }
    for (number, link) in links.iter().enumerate() {
        let found = async |now| on.store.link(hash(&number.to_string()), now).await.unwrap();
        assert_eq!(found(just_before(at(50))).await.as_ref(), Some(link));
        assert_eq!(found(at(50)).await, None, "it is good no longer");
    }
    assert_eq!(on.store.link(hash("another"), START).await.unwrap(), None);
}

pub async fn invitations_are_listed_until_they_are_taken(on: Subject) {
    let vendor = on.vendor().await.id;
    assert!(on.store.invitations(Some(vendor), START).await.unwrap().is_empty());
    let (one, two, ours) =
        (invitation(&on, "b@x.example", Some(vendor)), invitation(&on, "c@x.example", Some(vendor)), invitation(&on, "d@x.example", None));
    for (link, ticket) in [(&one, "one"), (&two, "two"), (&ours, "ours")] {
        create(&on, link, ticket).await;
    }
    create(&on, &link(&on, Purpose::Panel { vendor, role: Role::Viewer, lifetime: Duration::from_secs(60) }), "no invitation").await;
    let listed = async |vendor, now| on.store.invitations(vendor, now).await.unwrap();
    assert_eq!(listed(Some(vendor), START).await, [two.clone(), one.clone()]);
    assert_eq!(listed(None, START).await, std::slice::from_ref(&ours));
    assert!(listed(Some(vendor), at(50)).await.is_empty());
    assert!(!does(&on, Command::Withdraw { id: ours.id, vendor: Some(vendor) }).await, "it is the operator's");
    assert!(does(&on, Command::Withdraw { id: one.id, vendor: Some(vendor) }).await);
    assert!(!does(&on, Command::Withdraw { id: one.id, vendor: Some(vendor) }).await);
    assert_eq!(redeem(&on, "one", invited(&on, "b@x.example"), START).await, Redeemed::Gone);
    assert_eq!(redeem(&on, "two", invited(&on, "c@x.example"), START).await, Redeemed::Yes);
    assert!(listed(Some(vendor), START).await.is_empty());
}

pub async fn a_link_takes_the_place_of_the_same_inviters_only(on: Subject) {
    let vendors = [on.vendor().await.id, on.vendor().await.id];
    let invite = async |vendor, ticket| create(&on, &invitation(&on, "b@himal.example", vendor), ticket).await;
    for (vendor, ticket) in [(None, "ours"), (Some(vendors[0]), "first"), (Some(vendors[1]), "other's"), (Some(vendors[0]), "again")] {
        assert!(invite(vendor, ticket).await);
    }
    for (ticket, good) in [("ours", true), ("first", false), ("other's", true), ("again", true)] {
        assert_eq!(on.store.link(hash(ticket), START).await.unwrap().is_some(), good, "{ticket}");
    }
    let theirs =
        Redeeming::Login(User::new(on.ids.next(START).into(), "b@himal.example".to_owned(), Some(vendors[0]), START), password("x"));
    assert_eq!(redeem(&on, "again", theirs, START).await, Redeemed::Taken, "the operator has invited it");
    assert_eq!(redeem(&on, "ours", invited(&on, "b@himal.example"), START).await, Redeemed::Yes);
}

pub async fn links_to_a_new_password_are_good_until_one_is_used(on: Subject) {
    let user = login(&on, "a@himal.example", None).await;
    let ask = async |number: u32| create(&on, &link(&on, Purpose::Reset { user: user.id }), &format!("{number}")).await;
    for number in 0..limits::RESETS_OPEN {
        assert!(ask(number).await);
    }
    let mails = async || on.store.waiting_mails(first(100)).await.unwrap().len();
    let before = mails().await;
    assert!(!ask(100).await, "there are as many as there may be");
    assert_eq!((on.store.link(hash("100"), START).await.unwrap(), mails().await), (None, before));
    let is_good = async |number: u32| on.store.link(hash(&format!("{number}")), START).await.unwrap().is_some();
    for number in 0..limits::RESETS_OPEN {
        assert!(is_good(number).await);
    }
    let new = NewPassword { hash: password("second"), keep: None };
    assert_eq!(redeem(&on, "1", Redeeming::Password(user.id, new), START).await, Redeemed::Yes);
    for number in 0..limits::RESETS_OPEN {
        assert!(!is_good(number).await);
    }
}

pub async fn invitations_that_wait_have_a_bound(on: Subject) {
    let vendor = Some(on.vendor().await.id);
    for number in 0..limits::INVITATIONS_OPEN {
        assert!(create(&on, &invitation(&on, &format!("{number}@himal.example"), vendor), &format!("{number}")).await);
    }
    assert!(!create(&on, &invitation(&on, "more@himal.example", vendor), "more").await);
    assert!(create(&on, &invitation(&on, "0@himal.example", vendor), "again").await, "it takes the place of one");
    assert!(create(&on, &invitation(&on, "ours@himal.example", None), "ours").await);
}

pub async fn a_link_is_good_once(on: Subject) {
    create(&on, &invitation(&on, "b@himal.example", None), "ticket").await;
    assert_eq!(redeem(&on, "ticket", invited(&on, "b@himal.example"), at(50)).await, Redeemed::Gone, "too late");
    let results = eight(|number| {
        let (on, redeeming) = (on.clone(), invited(&on, &format!("{number}@himal.example")));
        async move { redeem(&on, "ticket", redeeming, START).await }
    })
    .await;
    assert_eq!(results.iter().filter(|redeemed| **redeemed == Redeemed::Yes).count(), 1);
    assert_eq!(results.iter().filter(|redeemed| **redeemed == Redeemed::Gone).count(), 7);
    assert_eq!(on.store.users(None, first(9)).await.unwrap().len(), 1);
}

pub async fn a_link_does_what_it_is_for(on: Subject) {
    let vendor = on.vendor().await.id;
    let user = login(&on, "a@himal.example", Some(vendor)).await;
    log_in(&on, &session(&on, Some(&user), Some(vendor)), "before", None).await;
    create(&on, &invitation(&on, "a@himal.example", Some(vendor)), "taken").await;
    assert_eq!(redeem(&on, "taken", invited(&on, "a@himal.example"), START).await, Redeemed::Taken);
    create(&on, &link(&on, Purpose::Reset { user: user.id }), "reset").await;
    let new = NewPassword { hash: password("second"), keep: None };
    assert_eq!(redeem(&on, "reset", Redeeming::Password(user.id, new), START).await, Redeemed::Yes);
    assert!(!is_in(&on, "before").await);
    assert_eq!(on.store.credentials("a@himal.example".to_owned()).await.unwrap().unwrap().password, password("second"));
    create(&on, &link(&on, Purpose::Panel { vendor, role: Role::Viewer, lifetime: Duration::from_secs(60) }), "panel").await;
    let entering = Redeeming::Session(session(&on, None, Some(vendor)), hash("in the panel"));
    assert_eq!(redeem(&on, "panel", entering, START).await, Redeemed::Yes);
    assert!(is_in(&on, "in the panel").await && !is_in(&on, "panel").await);
}

// --- Tokens in use ---------------------------------------------------------------------------------------------------

pub async fn a_stream_has_so_many_tokens_at_most(on: Subject) {
    let vendor = on.vendor().await;
    let add = async |mode, number: usize| {
        let Side { vendor, stream, mode } = Side::of(&vendor, mode);
        let (id, scope) = (TokenId::from(on.ids.next(START)), Scope::Vendor { vendor, mode, stream });
        let token = Token { id, scope, name: String::new(), allowed_ips: Vec::new(), created_at: START, last_used_at: None };
        let made = on.store.command(Command::CreateToken(token, TokenHash::of(&format!("{mode:?} {number}"))), START).await.unwrap();
        (made.took_effect(), id)
    };
    let (mut last, mut made) = (None, 0);
    while let (true, id) = add(Mode::Live, made).await {
        (last, made) = (Some(id), made + 1);
        assert!(made <= limits::TOKENS_PER_STREAM as usize);
    }
    assert!(add(Mode::Test, 0).await.0, "the other mode has its own");
    assert!(on.store.revoke_token(vendor.id, last.unwrap(), START).await.unwrap());
    assert!(add(Mode::Live, made + 1).await.0 && !add(Mode::Live, made + 2).await.0);
}

pub async fn a_tokens_use_is_noted_now_and_then(on: Subject) {
    let vendor = on.vendor().await;
    let Side { vendor, stream, mode } = Side::of(&vendor, Mode::Live);
    let (id, scope) = (on.ids.next(START).into(), Scope::Vendor { vendor, mode, stream });
    let token = Token { id, scope, name: String::new(), allowed_ips: Vec::new(), created_at: START, last_used_at: None };
    on.store.create_token(token.clone(), TokenHash::of("token")).await.unwrap();
    let used = async |now| {
        on.store.command(Command::TokenUsed(id), now).await.unwrap();
        let found = on.store.token(TokenHash::of("token")).await.unwrap().unwrap();
        assert_eq!(on.store.tokens(Some(vendor), first(1)).await.unwrap()[0].last_used_at, found.last_used_at);
        found.last_used_at
    };
    let later = START.plus(limits::TOKEN_USE_NOTED);
    assert_eq!(on.store.token(TokenHash::of("token")).await.unwrap(), Some(token));
    assert_eq!(used(START).await, Some(START));
    assert_eq!(used(later).await, Some(START), "that was noted a moment ago");
    let after = Timestamp::from_millis(later.as_millis() + 1);
    assert_eq!(used(after).await, Some(after));
}
