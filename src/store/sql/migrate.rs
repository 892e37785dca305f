//! Everything that a store holds, into another one: table by table in the order of the keys, a part in a transaction, with
//! where it stands in the same transaction, so that a move that was cut short goes on from there.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::accept::{FIRST_TRANSACTION_ID, TRANSACTION_IDS};
use super::conn::{Bind, Conn, Owned, Result, Row, Value, params};
use super::{Channel, Driver, KEY_CHECK, SqlStore};
use crate::limits;
use crate::store::StoreError;

/// A table, and the columns of its key.
struct Table {
    name: &'static str,
    key: &'static str,
}

const fn table(name: &'static str, key: &'static str) -> Table {
    Table { name, key }
}

/// All but `meta` and `reference`, which are each database's own.
const TABLES: [Table; 28] = [
    table("vendor", "id"),
    table("stream", "id"),
    table("token", "id"),
    table("\"user\"", "id"),
    table("endpoint", "id"),
    table("listening", "endpoint, from_sequence"),
    table("recharge", "id"),
    table("report", "recharge, number"),
    table("submission", "recharge"),
    table("callback", "id"),
    table("conflict", "id"),
    table("event", "stream, sequence"),
    table("dedupe", "stream, key"),
    table("open_delivery", "endpoint, sequence, run"),
    table("ended_delivery", "endpoint, sequence, run"),
    table("attempt", "endpoint, sequence, run, number"),
    table("health", "endpoint"),
    table("alert", "id"),
    table("mailbox", "address"),
    table("replay", "id"),
    table("audit", "id"),
    table("kept_answer", "token, path, key"),
    table("traffic", "minute, node"),
    table("session", "id"),
    table("link", "id"),
    table("device", "id"),
    table("tally", "stream, hour"),
    table("feed_start", "stream"),
];

/// The name under which `meta` tells that a move into a database has begun, and where it stands.
pub(in crate::store) const MOVING: &str = "move";

/// How far a move has come.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
struct Progress {
    /// Which store it comes from.
    source: String,
    /// The table it is at, and the key of the last row that is there.
    table: usize,
    after: Option<Vec<Key>>,
}

/// A part of a key.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
enum Key {
    Number(i64),
    Text(String),
}

impl Bind for Key {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Number(number) => Value::Integer(*number),
            Self::Text(text) => Value::Text(text),
        }
    }
}

/// What a table holds, to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Contents {
    rows: u64,
    checksum: [u8; 32],
}

/// What is told in the course of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It goes on where an earlier one was cut short.
    GoesOn,
    /// So many rows of this table have been written by now.
    Wrote(&'static str, u64),
    /// This table is the same on both sides, row by row.
    Same(&'static str, u64),
}

/// Moves everything.
///
/// # Errors
/// [`StoreError::Unusable`] if the target is not empty, or has what another store moved there; or if a table is not the same
/// on both sides in the end. The stores' own otherwise; then it goes on when it is called again.
pub async fn move_all<F: Driver, T: Driver>(from: &SqlStore<F>, to: &SqlStore<T>, mut tell: impl FnMut(Step)) -> Result<()> {
    let (source, next_transaction_id) = from.driver.read(about).await?;
    let begun = to.write(move |conn| begin(conn, &source)).await?;
    let mut progress = begun;
    if (progress.table, progress.after.is_some()) != (0, false) {
        tell(Step::GoesOn);
    }
    while let Some(table) = TABLES.get(progress.table) {
        let (mut columns, mut count) = (Vec::new(), 0);
        loop {
            let after = progress.after.clone();
            if columns.is_empty() {
                columns = from.driver.read(move |conn| columns_of(conn, table)).await?;
            }
            let of = columns.clone();
            let rows = from.driver.read(move |conn| part(conn, table, &of, after.as_deref())).await?;
            let is_last = rows.len() < limits::MOVED_AT_ONCE;
            progress = match rows.last().filter(|_| !is_last) {
                Some(last) => Progress { after: Some(key_of(table, &columns, last)?), ..progress },
                None => Progress { table: progress.table + 1, after: None, ..progress },
            };
            count += rows.len() as u64;
            let (stands, of) = (progress.clone(), columns.clone());
            to.driver.write(Channel::Main, rows, move |rows, conn, _| write(conn, table, &of, rows, &stands)).await.1?;
            tell(Step::Wrote(table.name.trim_matches('"'), count));
            if is_last {
                break;
            }
        }
    }
    for table in &TABLES {
        let columns = from.driver.read(move |conn| columns_of(conn, table)).await?;
        let of = columns.clone();
        let there = from.driver.read(move |conn| contents(conn, table, &of)).await?;
        let here = to.driver.read(move |conn| contents(conn, table, &columns)).await?;
        let name = table.name.trim_matches('"');
        if here != there {
            let (here, there) = (here.rows, there.rows);
            return Err(StoreError::Unusable(format!(
                "{name} is not the same on both sides ({there} rows there, {here} here): one of the databases was written to meanwhile. \
                 Begin anew with an empty database"
            )));
        }
        tell(Step::Same(name, here.rows));
    }
    to.write(move |conn| end(conn, next_transaction_id)).await
}

/// What tells a store from others, and the `transaction_id` of its next recharge.
fn about(conn: Conn) -> Result<(String, i64)> {
    const META: &str = "SELECT value FROM meta WHERE name = ?1";
    let mark = conn.one(META, params![KEY_CHECK], |row| row.get::<Vec<u8>>(0))?;
    let source = Sha256::digest(mark).iter().map(|byte| format!("{byte:02x}")).collect();
    let next = conn.first(META, params![TRANSACTION_IDS], |row| row.get(0))?;
    Ok((source, next.unwrap_or(FIRST_TRANSACTION_ID)))
}

/// Marks the target, unless it is marked already; refuses one that holds anything else.
fn begin(conn: Conn, source: &str) -> Result<Progress> {
    let begun = conn.first("SELECT value FROM meta WHERE name = ?1", params![MOVING], |row| row.get::<Vec<u8>>(0))?;
    if let Some(begun) = begun {
        let progress: Progress =
            serde_json::from_slice(&begun).map_err(|error| StoreError::Damaged(format!("how far the move has come: {error}")))?;
        return if progress.source == source {
            Ok(progress)
        } else {
            Err(StoreError::Unusable("another file is being moved into this database; name that one, or an empty database".to_owned()))
        };
    }
    for table in &TABLES {
        if conn.exists(&format!("SELECT 1 FROM {} LIMIT 1", table.name), params![])? {
            let name = table.name.trim_matches('"');
            return Err(StoreError::Unusable(format!("the target is not empty: there are rows in {name}. Name an empty database")));
        }
    }
    let progress = Progress { source: source.to_owned(), table: 0, after: None };
    stands(conn, &progress)?;
    Ok(progress)
}

fn stands(conn: Conn, progress: &Progress) -> Result<()> {
    let progress = serde_json::to_vec(progress).map_err(|error| StoreError::Rejected(error.to_string()))?;
    const STANDS: &str = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    conn.later(STANDS, params![MOVING, progress])
}

/// Names of a table's columns, as the file has them.
fn columns_of(conn: Conn, table: &Table) -> Result<Vec<String>> {
    conn.all("SELECT name FROM pragma_table_info(?1)", params![table.name.trim_matches('"')], |row| row.get(0))
}

fn rows_of(row: &Row, columns: &[String]) -> Result<Vec<Owned>> {
    (0..columns.len()).map(|at| row.owned(at)).collect()
}

/// The next rows of a table.
fn part(conn: Conn, Table { name, key }: &Table, columns: &[String], after: Option<&[Key]>) -> Result<Vec<Vec<Owned>>> {
    let marks = |count: usize| (1..=count).map(|at| format!("?{at}")).collect::<Vec<_>>().join(", ");
    let behind = after.map_or_else(String::new, |after| format!("WHERE ({key}) > ({}) ", marks(after.len())));
    let sql = format!("SELECT {} FROM {name} {behind}ORDER BY {key} LIMIT {}", columns.join(", "), limits::MOVED_AT_ONCE);
    let values: Vec<&dyn Bind> = after.unwrap_or_default().iter().map(|part| part as &dyn Bind).collect();
    conn.all(&sql, &values, |row| rows_of(row, columns))
}

fn key_of(table: &Table, columns: &[String], row: &[Owned]) -> Result<Vec<Key>> {
    let part = |name: &str| {
        let at = columns.iter().position(|column| column == name)?;
        match row.get(at)? {
            Owned::Integer(number) => Some(Key::Number(*number)),
            Owned::Text(text) => Some(Key::Text(text.clone())),
            Owned::Null | Owned::Bytes(_) => None,
        }
    };
    table
        .key
        .split(", ")
        .map(|name| part(name).ok_or_else(|| StoreError::Damaged(format!("{}: a row without its key", table.name))))
        .collect()
}

/// Writes rows, and how far the move has come with them.
fn write(conn: Conn, table: &Table, columns: &[String], rows: &[Vec<Owned>], progress: &Progress) -> Result<()> {
    let marks: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
    let insert = format!("INSERT INTO {} ({}) VALUES ({})", table.name, columns.join(", "), marks.join(", "));
    for row in rows {
        let values: Vec<&dyn Bind> = row.iter().map(|value| value as &dyn Bind).collect();
        conn.insert(&insert, &values)?;
    }
    stands(conn, progress)
}

/// Counts a table's rows, and digests them in the order of their keys.
fn contents(conn: Conn, Table { name, key }: &Table, columns: &[String]) -> Result<Contents> {
    let (mut rows, mut digest) = (0, Sha256::new());
    let sql = format!("SELECT {} FROM {name} ORDER BY {key}", columns.join(", "));
    conn.each(&sql, params![], |row| {
        rows += 1;
        for value in rows_of(row, columns)? {
            let (kind, bytes) = match &value {
                Owned::Null => (0_u8, &[] as &[u8]),
                Owned::Integer(number) => (1, &number.to_le_bytes() as &[u8]),
                Owned::Text(text) => (2, text.as_bytes()),
                Owned::Bytes(bytes) => (3, bytes.as_slice()),
            };
            digest.update([kind]);
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Contents { rows, checksum: digest.finalize().into() })
}

/// Numbers go on where they stood, and the target may be served.
fn end(conn: Conn, next_transaction_id: i64) -> Result<()> {
    if let Conn::Postgres(_) = conn {
        conn.one("SELECT setval('transaction_id', ?1, FALSE)", params![next_transaction_id], |_| Ok(()))?;
    }
    conn.execute("DELETE FROM meta WHERE name = ?1", params![MOVING]).map(drop)
}
