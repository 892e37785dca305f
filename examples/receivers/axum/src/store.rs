//! What the receiver keeps, in one SQLite file.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::Value;

use crate::setting;

const TABLES: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;
    CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP);
    CREATE TABLE IF NOT EXISTS recharge (reference_no TEXT PRIMARY KEY, status TEXT, amount TEXT, sequence INTEGER);
    CREATE TABLE IF NOT EXISTS work (number INTEGER PRIMARY KEY, reference_no TEXT, status TEXT);
    CREATE TABLE IF NOT EXISTS notice (reference_no TEXT, text TEXT);
    CREATE TABLE IF NOT EXISTS feed (one INTEGER PRIMARY KEY CHECK (one = 1), after INTEGER);";
const UPSERT: &str = "INSERT INTO recharge VALUES (?, ?, ?, ?) ON CONFLICT (reference_no) DO UPDATE
    SET status = excluded.status, amount = excluded.amount, sequence = excluded.sequence WHERE excluded.sequence > recharge.sequence";
const KNOWN: [&str; 3] = ["recharge.success", "recharge.failed", "recharge.reversed"];

/// What there is to do after a recharge has settled.
pub struct Work {
    /// Names this piece of work, and no other.
    pub number: i64,
    pub reference_no: String,
    pub status: String,
}

pub struct Store(Connection);

impl Store {
    pub fn open() -> anyhow::Result<Self> {
        let database = Connection::open(setting("DATABASE").unwrap_or("receiver.db".into()))?;
        database.execute_batch(TABLES)?;
        Ok(Self(database))
    }

    /// All of it or nothing. IMMEDIATE, so that two at once wait for each other in place of failing.
    fn begin(&mut self) -> rusqlite::Result<Transaction<'_>> {
        self.0.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// An event takes effect once, whether it was sent here, sent again or read from the feed; an older fact changes nothing,
    /// and neither does an event of a type that means nothing here.
    pub fn record(&mut self, id: &str, event: &Value) -> anyhow::Result<()> {
        if !event["type"].as_str().is_some_and(|known| KNOWN.contains(&known)) {
            return Ok(());
        }
        let data = &event["data"];
        let (reference_no, status) = (data["reference_no"].as_str(), data["status"].as_str());
        let transaction = self.begin()?;
        let is_new = transaction.execute("INSERT OR IGNORE INTO seen (id) VALUES (?)", [id])? == 1;
        let recharge = params![reference_no, status, data["amount"].as_str(), data["sequence"].as_i64()];
        if is_new && transaction.execute(UPSERT, recharge)? == 1 {
            transaction.execute("INSERT INTO work (reference_no, status) VALUES (?, ?)", [reference_no, status])?;
        }
        Ok(transaction.commit()?)
    }

    /// Does what is next; says whether there was anything.
    pub fn work_off(&mut self) -> anyhow::Result<bool> {
        let next = "SELECT number, reference_no, status FROM work ORDER BY number LIMIT 1";
        let work = |row: &rusqlite::Row<'_>| Ok(Work { number: row.get(0)?, reference_no: row.get(1)?, status: row.get(2)? });
        let Some(work) = self.0.query_row(next, [], work).optional()? else { return Ok(false) };
        let transaction = self.begin()?;
        tell_customer(&transaction, &work)?;
        transaction.execute("DELETE FROM work WHERE number = ?", [work.number])?;
        transaction.commit()?;
        Ok(true)
    }

    /// The number up to which the feed was read.
    pub fn read_up_to(&self) -> anyhow::Result<Option<i64>> {
        Ok(self.0.query_row("SELECT max(after) FROM feed", [], |row| row.get(0))?)
    }

    pub fn has_read_up_to(&self, sequence: i64) -> anyhow::Result<()> {
        self.0.execute("INSERT OR REPLACE INTO feed VALUES (1, ?)", [sequence])?;
        Ok(())
    }
}

/// Yours to write: a mail, a text message, money given back. What leaves the database may happen twice, if the machine stops
/// before the work is crossed off; give it the number of the work, to know it again.
fn tell_customer(transaction: &Transaction<'_>, work: &Work) -> rusqlite::Result<usize> {
    let text = format!("Your recharge: {}.", work.status);
    transaction.execute("INSERT INTO notice VALUES (?, ?)", [&work.reference_no, &text])
}
