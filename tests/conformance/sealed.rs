//! Values that are sealed: bound to their columns, in databases of the version before too.

use ringback::domain::alert::Email;
use ringback::domain::endpoint::Endpoint;
use ringback::domain::id::{EndpointId, UserId};
use ringback::domain::secret::Secret;
use ringback::domain::session::{Link, Purpose};
use ringback::domain::token::TokenHash;
use ringback::domain::user::SecondFactor;
use ringback::domain::vendor::Mode;
use ringback::store::Command;
use ringback::store::seal::{MasterKey, Place, Sealer};
use rusqlite::{Connection, params};

use crate::commands::Deeds;
use crate::endpoints::rich_settings;
use crate::harness::{START, Side, Subject, at};
use crate::sqlite::File;

const EMAIL: &str = "a@himal.example";
const COLUMNS: [&str; 4] = ["headers", "secret", "former_secrets", "signing_key"];

/// An endpoint with a value in each of its sealed columns, a second factor, and a letter.
async fn furnished(on: &Subject) -> (Endpoint, SecondFactor) {
    let side = Side::of(&on.vendor().await, Mode::Live);
    let endpoint = Endpoint::new(on.ids.next(START).into(), side.vendor, side.mode, side.stream, rich_settings(), START);
    on.store.create_endpoint(endpoint.clone(), 9).await.unwrap();
    let user = crate::people::login(on, EMAIL, None).await;
    let factor = SecondFactor { secret: Secret::new(*b"twenty bytes of it.."), used: 3, codes: vec![[7; 32]] };
    on.store.command(Command::ChangeSecondFactor { id: user.id, from: None, to: Some(factor.clone()) }, START).await.unwrap();
    let letter = Email { to: EMAIL.to_owned(), title: "Come in".to_owned(), text: Secret::new("with this link") };
    let link = Link { id: on.ids.next(START).into(), purpose: Purpose::Reset { user: user.id }, created_at: START, expires_at: at(50) };
    on.store.command(Command::CreateLink { link, hash: TokenHash::of("link"), letter: Some(letter) }, START).await.unwrap();
    (endpoint, factor)
}

async fn reads(on: &Subject, (endpoint, factor): &(Endpoint, SecondFactor)) {
    let found = on.store.endpoint(endpoint.id).await.unwrap().unwrap();
    assert_eq!(found.settings, endpoint.settings);
    let found = on.store.credentials(EMAIL.to_owned()).await.unwrap().unwrap();
    assert_eq!(found.second_factor.as_ref(), Some(factor));
    assert_eq!(on.store.mailings(START, START, 10).await.unwrap()[0].alerts[0].text, "with this link");
}

/// Binds a value as the version before did.
fn unbind(conn: &Connection, sealer: &Sealer, (table, column, id): (&str, &str, i64), (now, before): (Place, Place)) {
    let sealed: Vec<u8> = conn.query_row(&format!("SELECT {column} FROM {table} WHERE id = ?1"), [id], |row| row.get(0)).unwrap();
    let unbound = sealer.rebind(&now, &before, &sealed).unwrap();
    conn.execute(&format!("UPDATE {table} SET {column} = ?2 WHERE id = ?1"), params![id, unbound]).unwrap();
}

/// Makes the file one of the version before.
fn unbind_all(file: &File) {
    let (conn, sealer) = (file.look(), Sealer::new(&file.key, None, file.environment.entropy.clone()));
    let ids = |sql: &str| -> Vec<i64> {
        let mut found = conn.prepare(sql).unwrap();
        found.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    for id in ids("SELECT id FROM endpoint") {
        let endpoint = EndpointId::new(id);
        for column in COLUMNS {
            let places = (Place::new("endpoint", column, endpoint), Place::before_columns(endpoint.to_string()));
            unbind(&conn, &sealer, ("endpoint", column, id), places);
        }
    }
    for id in ids("SELECT id FROM user") {
        let user = UserId::new(id);
        let places = (Place::new("user", "second_factor", user), Place::before_columns(user.to_string()));
        unbind(&conn, &sealer, ("user", "second_factor", id), places);
    }
    for id in ids("SELECT id FROM alert") {
        let places = (Place::new("alert", "letter", id), Place::before_columns(format!("letter {id}")));
        unbind(&conn, &sealer, ("alert", "letter", id), places);
    }
    let check = sealer.seal(&Place::before_columns("master key check"), b"ringback");
    conn.execute("UPDATE meta SET value = ?1 WHERE name = 'master key check'", [check]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_the_version_before_are_bound_to_their_columns() {
    let file = File::new();
    let furniture = furnished(&file.subject()).await;
    unbind_all(&file);
    let before = file.bytes();
    let other = MasterKey::generate(&*file.environment.entropy);
    assert!(file.open_with(other).is_err(), "another key is still refused");
    assert_eq!(file.bytes(), before);
    for _ in 0..2 {
        reads(&file.subject(), &furniture).await;
    }
    // What was written before opens nowhere any more.
    let bound: Vec<u8> = file.look().query_row("SELECT secret FROM endpoint", [], |row| row.get(0)).unwrap();
    let sealer = Sealer::new(&file.key, None, file.environment.entropy.clone());
    assert!(sealer.open(&Place::before_columns(furniture.0.id.to_string()), &bound).is_err());
}

/// The key is being changed while the version is: some values are sealed with the key before.
#[tokio::test(flavor = "multi_thread")]
async fn values_of_both_keys_are_bound_to_their_columns() {
    let file = File::new();
    let furniture = furnished(&file.subject()).await;
    unbind_all(&file);
    let new = MasterKey::generate(&*file.environment.entropy);
    let on = Subject::new(file.open_rotating(new.clone(), file.key.clone()).unwrap(), &file.environment, ());
    reads(&on, &furniture).await;
    crate::erase::reseal(&on).await;
    drop(on);
    reads(&Subject::new(file.open_with(new).unwrap(), &file.environment, ()), &furniture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_opens_in_no_other_column() {
    let file = File::new();
    let (endpoint, _) = furnished(&file.subject()).await;
    for from in COLUMNS {
        for to in COLUMNS.into_iter().filter(|to| *to != from) {
            let copy = file.look();
            let kept: Vec<u8> = copy.query_row(&format!("SELECT {to} FROM endpoint"), [], |row| row.get(0)).unwrap();
            copy.execute(&format!("UPDATE endpoint SET {to} = {from}"), []).unwrap();
            let error = file.subject().store.endpoint(endpoint.id).await.unwrap_err().to_string();
            assert!(error.contains(&format!("endpoint.{to}")), "{from} in {to}: {error}");
            copy.execute(&format!("UPDATE endpoint SET {to} = ?1"), [kept]).unwrap();
        }
    }
}
