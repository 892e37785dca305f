//! A connection inside a transaction, whichever database it goes to: one way to run a statement and to read a row.
//!
//! Statements are written once, as SQLite understands them, with numbered parameters (`?1`). The few words that PostgreSQL
//! has otherwise are put right where it prepares a statement (`postgres/dialect.rs`).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::references::References;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::cluster::Hint;

/// What a statement or the reading of a row comes to.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A connection, in a transaction that somebody else began and ends.
#[derive(Clone, Copy)]
pub enum Conn<'a> {
    /// With what is known of references that are not in their table yet.
    Sqlite(&'a rusqlite::Connection, &'a References),
    Postgres(&'a (dyn Statements + 'a)),
}

impl Conn<'_> {
    /// Runs a statement; answers how many rows it changed.
    pub fn execute(self, sql: &str, values: &[&dyn Bind]) -> Result<usize> {
        match self {
            Self::Sqlite(conn, _) => Ok(conn.prepare_cached(sql)?.execute(in_sqlite(values))?),
            Self::Postgres(tx) => tx.execute(sql, values),
        }
    }

    /// Runs a statement of which nobody needs to know what it changed: at once, or before the next one that is waited for,
    /// or with the commit.
    pub fn later(self, sql: &str, values: &[&dyn Bind]) -> Result<()> {
        match self {
            Self::Sqlite(..) => self.execute(sql, values).map(drop),
            Self::Postgres(tx) => tx.later(sql, values),
        }
    }

    /// The same for an `INSERT` of one row whose values are its parameters in their order. Many of them become one.
    pub fn insert(self, sql: &str, values: &[&dyn Bind]) -> Result<()> {
        match self {
            Self::Sqlite(..) => self.execute(sql, values).map(drop),
            Self::Postgres(tx) => tx.insert(sql, values),
        }
    }

    /// The same for a `DELETE` of one row, by its key, before all else that was put off: where there is no such row, the
    /// transaction comes to nothing. Many of them become one.
    pub fn claim(self, sql: &str, values: &[&dyn Bind]) -> Result<()> {
        match self {
            Self::Sqlite(..) => unreachable!("a file has one writer, that has to claim nothing"),
            Self::Postgres(tx) => tx.claim(sql, values),
        }
    }

    /// Claims a row that is written over again and again, as that of a counter is: by `update` where `spot` says that it is,
    /// and where that is not known by `sought`, which has to write the same one row. PostgreSQL looks for a row by its key among
    /// all that were before it and could not be removed yet, which are many beside a transaction that stays open; on the file
    /// it is always sought.
    pub fn write_over(self, spot: &RowLocation, update: &str, sought: &str, values: &[&dyn Bind]) -> Result<()> {
        match self {
            Self::Sqlite(..) => self.execute(sought, values).map(drop),
            Self::Postgres(tx) => tx.write_over(spot, update, sought, values),
        }
    }

    /// Runs a query that fails where a claim would, if rows have to be inserted before the claim is sent. Others who claim the
    /// same insert the same rows.
    pub fn guard(self, sql: &str, values: &[&dyn Bind]) -> Result<()> {
        match self {
            Self::Sqlite(..) => unreachable!("a file has one writer, that has to claim nothing"),
            Self::Postgres(tx) => tx.guard(sql, values),
        }
    }

    /// Tells all nodes something with the commit. It has commits wait for each other, so that it is for what happens rarely.
    pub fn announce(self, hint: Hint) -> Result<()> {
        match self {
            Self::Sqlite(..) => Ok(()),
            Self::Postgres(tx) => tx.announce(hint),
        }
    }

    /// Shows rows to `take` until it has enough.
    pub fn each(self, sql: &str, values: &[&dyn Bind], mut take: impl FnMut(&Row) -> Result<ControlFlow<()>>) -> Result<()> {
        match self {
            Self::Sqlite(conn, _) => {
                let mut statement = conn.prepare_cached(sql)?;
                let mut rows = statement.query(in_sqlite(values))?;
                while let Some(row) = rows.next()?
                    && take(&Row::Sqlite(row))?.is_continue()
                {}
                Ok(())
            }
            Self::Postgres(tx) => tx.each(sql, values, &mut |row| Ok(take(&Row::Postgres(row))?.is_continue())),
        }
    }

    /// The same for rows whose `facts` may be long, of which so many bytes are enough: no more than one row beyond that is read.
    pub fn within(self, sql: &str, values: &[&dyn Bind], bytes: i64, mut take: impl FnMut(&Row) -> Result<ControlFlow<()>>) -> Result<()> {
        let Self::Postgres(tx) = self else { return self.each(sql, values, take) };
        let within = format!(
            "SELECT * FROM (SELECT q.*, sum(octet_length(q.facts)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(q.facts) AS ahead \
             FROM ({sql}) q) w WHERE w.ahead <= ?{}",
            values.len() + 1
        );
        for row in &tx.all(&within, &[values, &[&bytes]].concat())? {
            if take(&Row::Postgres(row))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The first row, if there is one.
    pub fn first<T>(self, sql: &str, values: &[&dyn Bind], read: impl FnOnce(&Row) -> Result<T>) -> Result<Option<T>> {
        match self {
            Self::Sqlite(conn, _) => {
                let mut statement = conn.prepare_cached(sql)?;
                let mut rows = statement.query(in_sqlite(values))?;
                rows.next()?.map(|row| read(&Row::Sqlite(row))).transpose()
            }
            Self::Postgres(tx) => tx.all(sql, values)?.first().map(|row| read(&Row::Postgres(row))).transpose(),
        }
    }

    /// The first row, which has to be there.
    pub fn one<T>(self, sql: &str, values: &[&dyn Bind], read: impl FnOnce(&Row) -> Result<T>) -> Result<T> {
        self.first(sql, values, read)?.ok_or_else(|| StoreError::Rejected("it refers to what is not there".to_owned()))
    }

    /// All rows.
    pub fn all<T>(self, sql: &str, values: &[&dyn Bind], mut read: impl FnMut(&Row) -> Result<T>) -> Result<Vec<T>> {
        match self {
            Self::Sqlite(conn, _) => {
                let mut statement = conn.prepare_cached(sql)?;
                let mut rows = statement.query(in_sqlite(values))?;
                let mut all = Vec::new();
                while let Some(row) = rows.next()? {
                    all.push(read(&Row::Sqlite(row))?);
                }
                Ok(all)
            }
            Self::Postgres(tx) => tx.all(sql, values)?.iter().map(|row| read(&Row::Postgres(row))).collect(),
        }
    }

    /// Whether there is a row.
    pub fn exists(self, sql: &str, values: &[&dyn Bind]) -> Result<bool> {
        Ok(self.first(sql, values, |_| Ok(()))?.is_some())
    }
}

/// What a transaction on PostgreSQL does for a [`Conn`].
pub trait Statements {
    /// Runs a statement; answers how many rows it changed.
    fn execute(&self, sql: &str, values: &[&dyn Bind]) -> Result<usize>;
    /// Runs a statement before the next one that is waited for, or with the commit.
    fn later(&self, sql: &str, values: &[&dyn Bind]) -> Result<()>;
    /// The same for an `INSERT` of one row; before those of [`Statements::later`].
    fn insert(&self, sql: &str, values: &[&dyn Bind]) -> Result<()>;
    /// The same for a `DELETE` of one row that has to be there; before all others.
    fn claim(&self, sql: &str, values: &[&dyn Bind]) -> Result<()>;
    /// The same for an `UPDATE` of one row where `spot` says that it is, or for another statement where that is not known;
    /// `spot` learns where the row has come to be.
    fn write_over(&self, spot: &RowLocation, update: &str, sought: &str, values: &[&dyn Bind]) -> Result<()>;
    /// Runs a query before rows that go out before the commit does, if there are any.
    fn guard(&self, sql: &str, values: &[&dyn Bind]) -> Result<()>;
    /// Tells all nodes something with the commit.
    fn announce(&self, hint: Hint) -> Result<()>;
    /// What each of these questions is answered, all asked at once. One about no keys is not asked.
    fn many(&self, questions: &[(&str, Vec<Keys>)]) -> Result<Vec<Vec<tokio_postgres::Row>>>;
    /// All rows of a statement.
    fn all(&self, sql: &str, values: &[&dyn Bind]) -> Result<Vec<tokio_postgres::Row>>;
    /// Shows rows to `take`, a part of them at a time, until it answers that it has enough.
    fn each(&self, sql: &str, values: &[&dyn Bind], take: &mut dyn FnMut(&tokio_postgres::Row) -> Result<bool>) -> Result<()>;
}

/// Where in its table a row is that was written last by whoever keeps this, once the database has told.
#[derive(Debug, Clone, Default)]
pub struct RowLocation(Arc<AtomicI64>);

impl RowLocation {
    /// The row is there. No row's place is 0.
    pub fn learn(&self, place: i64) {
        self.0.store(place, Ordering::Relaxed);
    }

    /// Where it is, if that is known; to be learnt again, as it is about to be written over.
    pub fn take(&self) -> Option<i64> {
        Some(self.0.swap(0, Ordering::Relaxed)).filter(|place| *place != 0)
    }
}

/// A parameter that is an array.
#[derive(Debug)]
pub enum Keys<'a> {
    Integers(Vec<i64>),
    Texts(Vec<&'a str>),
}

impl Keys<'_> {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Integers(numbers) => numbers.is_empty(),
            Self::Texts(texts) => texts.is_empty(),
        }
    }
}

fn in_sqlite<'a>(values: &'a [&'a dyn Bind]) -> impl rusqlite::Params + 'a {
    rusqlite::params_from_iter(values.iter().map(|value| value.value()))
}

/// A row that came out of a statement.
pub enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// What a column holds.
    pub fn get<T: Column>(&self, column: impl Place) -> Result<T> {
        let cell = self.cell(column)?;
        T::of(cell).ok_or_else(|| StoreError::Damaged(format!("column {column} holds {cell:?}, which is not what belongs there")))
    }

    /// Whatever a column holds.
    pub fn owned(&self, column: impl Place) -> Result<Owned> {
        self.cell(column).map(Owned::from)
    }

    /// A text, without copying it.
    pub fn text(&self, column: impl Place) -> Result<&str> {
        match self.cell(column)? {
            Value::Text(text) => Ok(text),
            other => Err(StoreError::Damaged(format!("column {column} holds {other:?} and not a text"))),
        }
    }

    /// Bytes, without copying them.
    pub fn bytes(&self, column: impl Place) -> Result<&[u8]> {
        match self.cell(column)? {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(StoreError::Damaged(format!("column {column} holds {other:?} and not bytes"))),
        }
    }

    fn cell(&self, column: impl Place) -> Result<Value<'_>> {
        match self {
            Self::Sqlite(row) => Ok(column.in_sqlite(row)?.into()),
            Self::Postgres(row) => column.in_postgres(row).map_err(|error| StoreError::Damaged(format!("column {column}: {error}"))),
        }
    }
}

/// Where in a row: a name, or a place from 0.
pub trait Place: Copy + std::fmt::Display {
    fn in_sqlite<'a>(self, row: &'a rusqlite::Row) -> rusqlite::Result<rusqlite::types::ValueRef<'a>>;
    fn in_postgres(self, row: &tokio_postgres::Row) -> Result<Value<'_>, tokio_postgres::Error>;
}

impl Place for &str {
    fn in_sqlite<'a>(self, row: &'a rusqlite::Row) -> rusqlite::Result<rusqlite::types::ValueRef<'a>> {
        row.get_ref(self)
    }

    fn in_postgres(self, row: &tokio_postgres::Row) -> Result<Value<'_>, tokio_postgres::Error> {
        row.try_get(self)
    }
}

impl Place for usize {
    fn in_sqlite<'a>(self, row: &'a rusqlite::Row) -> rusqlite::Result<rusqlite::types::ValueRef<'a>> {
        row.get_ref(self)
    }

    fn in_postgres(self, row: &tokio_postgres::Row) -> Result<Value<'_>, tokio_postgres::Error> {
        row.try_get(self)
    }
}

/// What goes into a statement and comes out of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// Its kind alone: what it holds may be a person's.
impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "nothing",
            Self::Integer(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
        })
    }
}

impl<'a> From<rusqlite::types::ValueRef<'a>> for Value<'a> {
    fn from(value: rusqlite::types::ValueRef<'a>) -> Self {
        use rusqlite::types::ValueRef;
        match value {
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Text(text) => std::str::from_utf8(text).map_or(Self::Bytes(text), Self::Text),
            ValueRef::Blob(bytes) => Self::Bytes(bytes),
            ValueRef::Null | ValueRef::Real(_) => Self::Null,
        }
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef;
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A value that outlives whoever gave it.
#[derive(Debug, Clone)]
pub enum Owned {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Value<'_>> for Owned {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(number) => Self::Integer(number),
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
        }
    }
}

impl Bind for Owned {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::Integer(*number),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

/// What can be given to a statement.
pub trait Bind: Sync {
    fn value(&self) -> Value<'_>;
}

/// The values of a statement, in the order of their numbers.
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$(&$value as &dyn $crate::store::sql::conn::Bind),*] as &[&dyn $crate::store::sql::conn::Bind] };
}
pub(in crate::store) use params;

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Bind for $number {
            fn value(&self) -> Value<'_> {
                // Counts that do not fit have no row.
                Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }

        impl Column for $number {
            fn of(cell: Value) -> Option<Self> {
                if let Value::Integer(number) = cell { number.try_into().ok() } else { None }
            }
        }
    )*};
}
numbers!(i64, u16, u32, u64, usize);

impl Bind for bool {
    fn value(&self) -> Value<'_> {
        Value::Integer(i64::from(*self))
    }
}

impl Bind for str {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Bind for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Bind for [u8] {
    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl Bind for Vec<u8> {
    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl<const N: usize> Bind for [u8; N] {
    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl<T: Bind> Bind for Option<T> {
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, Bind::value)
    }
}

impl<T: Bind + ?Sized> Bind for &T {
    fn value(&self) -> Value<'_> {
        (**self).value()
    }
}

/// What can be read from a column.
pub trait Column: Sized {
    fn of(cell: Value) -> Option<Self>;
}

impl Column for bool {
    fn of(cell: Value) -> Option<Self> {
        i64::of(cell).map(|number| number != 0)
    }
}

impl Column for String {
    fn of(cell: Value) -> Option<Self> {
        if let Value::Text(text) = cell { Some(text.to_owned()) } else { None }
    }
}

impl Column for Vec<u8> {
    fn of(cell: Value) -> Option<Self> {
        if let Value::Bytes(bytes) = cell { Some(bytes.to_vec()) } else { None }
    }
}

impl Column for Timestamp {
    fn of(cell: Value) -> Option<Self> {
        i64::of(cell).map(Self::from_millis)
    }
}

impl<T: Column> Column for Option<T> {
    fn of(cell: Value) -> Option<Self> {
        if cell == Value::Null { Some(None) } else { T::of(cell).map(Some) }
    }
}
