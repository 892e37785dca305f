//! A transaction under way, with as few round trips as it can do with: it begins together with its first statement, what
//! nobody waits for is sent together with the commit, rows for one table go as one statement, and statements for different
//! tables too.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use futures_util::TryStreamExt;
use futures_util::future::{MaybeDone, maybe_done};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Row, Statement};

use super::dialect::Claim;
use super::session::{Driven, Kind};
use super::values::Argument;
use super::{dialect, hints};
use crate::limits;
use crate::store::StoreError;
use crate::store::cluster::Hint;
use crate::store::sql::conn::{Bind, Keys, Owned, Result, RowLocation, Statements, Value};

/// Why a transaction did not come to pass.
pub(super) enum Trouble {
    /// Another one was in the way: it may be run again.
    Conflict(StoreError),
    /// The connection was lost before it began.
    NotStarted(StoreError),
    /// The session cannot write, although another one may: its server is no longer the primary.
    ReadOnly(StoreError),
    /// For another reason.
    Failed(StoreError),
}

impl Trouble {
    pub fn reason(self) -> StoreError {
        match self {
            Self::Conflict(error) | Self::NotStarted(error) | Self::ReadOnly(error) | Self::Failed(error) => error,
        }
    }
}

/// A transaction under way.
pub(super) struct Running<'a> {
    runtime: &'a Driven,
    client: &'a Client,
    statements: &'a RefCell<HashMap<String, Statement>>,
    kind: Kind,
    begun: Cell<bool>,
    /// Another transaction was in the way.
    crossed: Cell<bool>,
    /// The first thing that was sent found no connection.
    lost: Cell<bool>,
    /// A write was refused because the session only reads.
    read_only: Cell<bool>,
    later: RefCell<Later>,
    /// Statements that go before rows that have to go before the commit does.
    guards: RefCell<Vec<(String, Vec<Owned>)>>,
}

/// What nobody waits for.
#[derive(Default)]
struct Later {
    /// Statements about a row that has to be there, which go before all others.
    claims: Vec<Rows>,
    /// Rows to insert.
    rows: Vec<Rows>,
    /// Other statements, in order.
    others: Vec<(String, Vec<Owned>)>,
}

/// A statement about one row, and the values of one row or of many.
struct Rows {
    sql: String,
    rows: Vec<Vec<Owned>>,
    /// To be told where its one row is then.
    tells: Option<RowLocation>,
}

impl Rows {
    /// Adds a row to those of the same statement.
    fn add(all: &mut Vec<Self>, sql: &str, row: Vec<Owned>) {
        match all.iter_mut().find(|known| known.sql == sql) {
            Some(known) => known.rows.push(row),
            None => all.push(Self { sql: sql.to_owned(), rows: vec![row], tells: None }),
        }
    }
}

/// A statement that was put off.
struct Part {
    sql: String,
    /// The table that it writes to, where it looks at no other one.
    table: Option<String>,
    /// It is about one row, and there are many.
    of_many: bool,
    values: Vec<Argument>,
    /// So many rows have to be there.
    claims: Option<usize>,
    tells: Option<RowLocation>,
}

impl Part {
    fn of_one(sql: String, values: Vec<Owned>) -> Self {
        let table = table(&sql);
        Self { sql, table, of_many: false, values: values.into_iter().map(Argument::One).collect(), claims: None, tells: None }
    }

    fn of_rows(Rows { sql, mut rows, tells }: Rows) -> Self {
        if let [row] = &mut rows[..] {
            // One row has its own statement, which is cheaper than one about many.
            return Self { tells, ..Self::of_one(sql, std::mem::take(row)) };
        }
        let mut columns = vec![Vec::with_capacity(rows.len()); rows.first().map_or(0, Vec::len)];
        for row in rows {
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        let table = table(&sql);
        Self { sql, table, of_many: true, values: columns.into_iter().map(Argument::Column).collect(), claims: None, tells }
    }

    fn of_claims(rows: Rows) -> Self {
        let claims = Some(rows.rows.len());
        Self { claims, ..Self::of_rows(rows) }
    }

    /// Whether it can be of one statement with this one, which comes before it: parts of one do not see what the others write.
    fn fits(&self, other: &Self) -> bool {
        let adds = || self.claims.is_none() && self.sql.starts_with("INSERT") && other.claims.is_some();
        self.table.as_ref().zip(other.table.as_ref()).is_some_and(|(table, of)| table != of || adds())
    }

    fn claim(&self) -> Option<Claim> {
        self.claims.map(|_| if self.tells.is_some() { Claim::Tells } else { Claim::Holds })
    }

    /// What it is known by.
    fn name(&self) -> String {
        let kind = match self.claim() {
            None => "",
            Some(Claim::Holds) => "claim ",
            Some(Claim::Tells) => "claim at ",
        };
        let rows = if self.of_many { "rows: " } else { "" };
        format!("{kind}{rows}{}", self.sql)
    }
}

/// The table that a statement writes to, if it looks at no other one.
fn table(sql: &str) -> Option<String> {
    let rest = ["INSERT INTO ", "UPDATE ", "DELETE FROM "].iter().find_map(|verb| sql.strip_prefix(verb))?;
    (!rest.contains("SELECT") && !rest.contains(" FROM ")).then(|| rest.split(' ').next().unwrap_or(rest).to_owned())
}

/// A statement with its values, ready to be sent.
struct Ready {
    statement: Statement,
    values: Vec<Argument>,
    /// To be told where rows are then, in the order in which the statement answers that behind its first column.
    tells: Vec<RowLocation>,
}

/// A request that is sent when it is first polled.
type Request<'r> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'r>>;

impl<'a> Running<'a> {
    pub fn new(runtime: &'a Driven, client: &'a Client, statements: &'a RefCell<HashMap<String, Statement>>, kind: Kind) -> Self {
        let (later, guards) = Default::default();
        let [begun, crossed, lost, read_only] = [const { Cell::new(false) }; 4];
        Self { runtime, client, statements, kind, begun, crossed, lost, read_only, later, guards }
    }

    /// Sends what is left with the commit behind it, and waits for all of it. What is one statement in all is a transaction
    /// by itself.
    pub fn commit(self) -> Result<(), Trouble> {
        // What the guards are about is claimed by what goes with the commit.
        self.guards.take();
        let sent = self.take_later().and_then(|later| {
            let stands_alone = !self.begun.get() && later.len() <= 1;
            let mut requests = if stands_alone { Vec::new() } else { self.beginning() };
            requests.extend(self.requests(&later));
            if !stands_alone {
                requests.push(Box::pin(self.client.batch_execute("COMMIT")));
            }
            let sent = self.runtime.block_on(in_order(requests));
            // Where a statement failed, the commit behind it has undone all.
            self.begun.set(false);
            sent.map_err(|error| {
                if self.kind == Kind::Writes && error.code().is_none() {
                    return StoreError::Unknown(error.to_string());
                }
                self.told(&error)
            })
        });
        match sent {
            Ok(_) => Ok(()),
            Err(error @ StoreError::Unknown(_)) => Err(Trouble::Failed(error)),
            // It may be that a statement could not even be prepared, and then the transaction is still open.
            Err(error) => Err(self.roll_back(error)),
        }
    }

    /// Undoes it; answers why, with what follows.
    pub fn roll_back(self, why: StoreError) -> Trouble {
        if self.begun.get() {
            // Where the connection is gone, so is the transaction.
            drop(self.runtime.block_on(self.client.batch_execute("ROLLBACK")));
        }
        match (self.crossed.get(), self.lost.get()) {
            (true, _) => Trouble::Conflict(why),
            (_, true) => Trouble::NotStarted(why),
            _ if self.read_only.get() => Trouble::ReadOnly(why),
            _ => Trouble::Failed(why),
        }
    }

    /// Whether the connection is gone, or is about to be.
    fn is_lost(&self, error: &Error) -> bool {
        const GOING: [&SqlState; 4] =
            [&SqlState::ADMIN_SHUTDOWN, &SqlState::CRASH_SHUTDOWN, &SqlState::IDLE_SESSION_TIMEOUT, &SqlState::CANNOT_CONNECT_NOW];
        self.client.is_closed() || error.code().is_some_and(|code| GOING.contains(&code))
    }

    /// What an error means, and for the transaction.
    fn told(&self, error: &Error) -> StoreError {
        // What is there twice may have come from another node after it was looked for, and a claim that comes to nothing
        // divides by it.
        const CROSSED: [&SqlState; 4] = [
            &SqlState::T_R_SERIALIZATION_FAILURE,
            &SqlState::T_R_DEADLOCK_DETECTED,
            &SqlState::UNIQUE_VIOLATION,
            &SqlState::DIVISION_BY_ZERO,
        ];
        if error.code().is_some_and(|code| CROSSED.contains(&code)) {
            self.crossed.set(true);
        }
        if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
            self.read_only.set(true);
        }
        StoreError::from(error)
    }

    /// The request that begins it, if that has not been sent.
    fn beginning(&self) -> Vec<Request<'_>> {
        if self.begun.replace(true) {
            return Vec::new();
        }
        let begin = match self.kind {
            Kind::Reads => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Kind::Writes => "BEGIN",
        };
        vec![Box::pin(self.client.batch_execute(begin))]
    }

    /// Runs `request`, behind what was put off, which it may build on.
    fn wait<T>(&self, request: impl Future<Output = Result<T, Error>>) -> Result<T> {
        let (first, later) = (!self.begun.get(), self.take_later()?);
        let answer = RefCell::new(None);
        let mut requests = self.beginning();
        requests.extend(self.requests(&later));
        requests.push(Box::pin(async {
            *answer.borrow_mut() = Some(request.await?);
            Ok(())
        }));
        self.runtime.block_on(in_order(requests)).map_err(|error| {
            self.lost.set(first && self.is_lost(&error));
            self.told(&error)
        })?;
        Ok(answer.into_inner().expect("the request came to its end"))
    }

    fn requests<'r>(&'r self, ready: &'r [Ready]) -> impl Iterator<Item = Request<'r>> {
        ready.iter().map(move |Ready { statement, values, tells }| -> Request<'r> {
            Box::pin(async move {
                let mut rows = pin!(self.client.query_raw(statement, values).await?);
                while let Some(row) = rows.try_next().await? {
                    for (at, spot) in tells.iter().enumerate() {
                        if let Value::Integer(place) = row.try_get(at + 1)? {
                            spot.learn(place);
                        }
                    }
                }
                Ok(())
            })
        })
    }

    /// What was put off, ready to be sent: rows first, which the other statements may be about. Each statement has its price
    /// on the way, whatever it is about, so that those that write to different tables become one.
    fn take_later(&self) -> Result<Vec<Ready>> {
        let Later { claims, rows, others } = self.later.take();
        let guards = if rows.is_empty() { Vec::new() } else { self.guards.take() };
        let guards = guards.into_iter().map(|(sql, values)| Part::of_one(sql, values));
        let claims = claims.into_iter().map(Part::of_claims);
        let rows = rows.into_iter().map(Part::of_rows);
        let others = others.into_iter().map(|(sql, values)| Part::of_one(sql, values));
        let (mut ready, mut together) = (Vec::new(), Vec::<Part>::new());
        for part in claims.chain(guards).chain(rows).chain(others) {
            if !together.iter().all(|other| part.fits(other)) {
                ready.push(self.joined(std::mem::take(&mut together))?);
            }
            together.push(part);
        }
        if !together.is_empty() {
            ready.push(self.joined(together)?);
        }
        Ok(ready)
    }

    /// Statements as one.
    fn joined(&self, parts: Vec<Part>) -> Result<Ready> {
        let name = parts.iter().map(Part::name).collect::<Vec<_>>().join("; ");
        if !self.statements.borrow().contains_key(&name) {
            let (mut texts, mut values) = (Vec::new(), 0);
            for part in &parts {
                let text = dialect::translate(&part.sql);
                let text = if part.of_many { dialect::of_many(&text, self.prepared(&part.sql)?.params()) } else { text };
                texts.push((dialect::numbered_from(&text, values), part.claim()));
                values += part.values.len();
            }
            self.prepared_as(&name, || dialect::joined(texts, values))?;
        }
        let statement = self.prepared_as(&name, String::new)?;
        let claims: Vec<_> = parts.iter().filter_map(|part| part.claims).map(|rows| Argument::One(Owned::Integer(rows as i64))).collect();
        let tells = parts.iter().filter_map(|part| part.tells.clone()).collect();
        Ok(Ready { statement, values: parts.into_iter().flat_map(|part| part.values).chain(claims).collect(), tells })
    }

    fn prepared(&self, sql: &str) -> Result<Statement> {
        self.prepared_as(sql, || dialect::translate(sql))
    }

    /// The statement kept under this name, made of this text when it is first needed. It takes no part in the transaction.
    fn prepared_as(&self, name: &str, text: impl FnOnce() -> String) -> Result<Statement> {
        if let Some(statement) = self.statements.borrow().get(name) {
            return Ok(statement.clone());
        }
        let prepared = self.runtime.block_on(self.client.prepare(&text()));
        let statement = prepared.map_err(|error| {
            self.lost.set(!self.begun.get() && self.is_lost(&error));
            self.told(&error)
        })?;
        self.statements.borrow_mut().insert(name.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Sends all of them in this order, and then waits for their answers. What cannot be sent keeps back those behind it. The
/// first that failed is the reason for the others.
async fn in_order(requests: Vec<Request<'_>>) -> Result<(), Error> {
    let mut parts: Vec<MaybeDone<Request>> = Vec::with_capacity(requests.len());
    let mut left = requests.into_iter();
    poll_fn(|cx| {
        for request in left.by_ref() {
            let mut part = maybe_done(request);
            let is_stuck = Pin::new(&mut part).poll(cx).is_ready() && matches!(part, MaybeDone::Done(Err(_)));
            parts.push(part);
            if is_stuck {
                break;
            }
        }
        left = Vec::new().into_iter();
        let waits = parts.iter_mut().filter_map(|part| Pin::new(part).poll(cx).is_pending().then_some(())).count();
        if waits == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    parts.iter_mut().try_for_each(|part| Pin::new(part).take_output().expect("all have come to their end"))
}

fn given<'v>(values: &'v [&'v dyn Bind]) -> impl ExactSizeIterator<Item = Value<'v>> {
    values.iter().map(|value| value.value())
}

impl Statements for Running<'_> {
    fn execute(&self, sql: &str, values: &[&dyn Bind]) -> Result<usize> {
        let statement = self.prepared(sql)?;
        let rows = self.wait(self.client.execute_raw(&statement, given(values)))?;
        Ok(usize::try_from(rows).unwrap_or(usize::MAX))
    }

    fn later(&self, sql: &str, values: &[&dyn Bind]) -> Result<()> {
        self.later.borrow_mut().others.push((sql.to_owned(), given(values).map(Owned::from).collect()));
        Ok(())
    }

    fn claim(&self, sql: &str, values: &[&dyn Bind]) -> Result<()> {
        Rows::add(&mut self.later.borrow_mut().claims, sql, given(values).map(Owned::from).collect());
        Ok(())
    }

    fn write_over(&self, spot: &RowLocation, update: &str, sought: &str, values: &[&dyn Bind]) -> Result<()> {
        // What the guards are about is claimed now.
        self.guards.borrow_mut().clear();
        let place = spot.take();
        let sql = if place.is_some() { dialect::there(update, values.len() + 1) } else { sought.to_owned() };
        let row = given(values).map(Owned::from).chain(place.map(Owned::Integer)).collect();
        self.later.borrow_mut().claims.push(Rows { sql, rows: vec![row], tells: Some(spot.clone()) });
        Ok(())
    }

    fn guard(&self, sql: &str, values: &[&dyn Bind]) -> Result<()> {
        self.guards.borrow_mut().push((sql.to_owned(), given(values).map(Owned::from).collect()));
        Ok(())
    }

    fn insert(&self, sql: &str, values: &[&dyn Bind]) -> Result<()> {
        Rows::add(&mut self.later.borrow_mut().rows, sql, given(values).map(Owned::from).collect());
        Ok(())
    }

    fn announce(&self, hint: Hint) -> Result<()> {
        self.later(&format!("SELECT pg_notify({}, ?1)", hints::CHANNEL), &[&hints::written(hint)])
    }

    fn all(&self, sql: &str, values: &[&dyn Bind]) -> Result<Vec<Row>> {
        let statement = self.prepared(sql)?;
        self.wait(async { self.client.query_raw(&statement, given(values)).await?.try_collect().await })
    }

    fn each(&self, sql: &str, values: &[&dyn Bind], take: &mut dyn FnMut(&Row) -> Result<bool>) -> Result<()> {
        let declare =
            self.prepared_as(&format!("part: {sql}"), || format!("DECLARE part NO SCROLL CURSOR FOR {}", dialect::translate(sql)))?;
        self.wait(self.client.execute_raw(&declare, given(values)))?;
        let fetch = format!("FETCH {} FROM part", limits::PORTAL_ROWS);
        loop {
            let part = self.wait(self.client.query_typed(&fetch, &[]))?;
            let mut enough = part.len() < limits::PORTAL_ROWS;
            for row in &part {
                if !take(row)? {
                    enough = true;
                    break;
                }
            }
            if enough {
                return self.wait(self.client.batch_execute("CLOSE part"));
            }
        }
    }

    fn many(&self, questions: &[(&str, Vec<Keys>)]) -> Result<Vec<Vec<Row>>> {
        let asked = questions.iter().enumerate().filter(|(_, (_, keys))| !keys.iter().any(Keys::is_empty));
        let asked = asked.map(|(at, (sql, keys))| Ok((at, self.prepared(sql)?, keys))).collect::<Result<Vec<_>>>()?;
        let answers = RefCell::new(questions.iter().map(|_| Vec::new()).collect::<Vec<_>>());
        if asked.is_empty() {
            return Ok(answers.into_inner());
        }
        let requests = asked.iter().map(|(at, statement, keys)| -> Request {
            let answers = &answers;
            Box::pin(async move {
                let rows = self.client.query_raw(statement, *keys).await?.try_collect().await?;
                answers.borrow_mut()[*at] = rows;
                Ok(())
            })
        });
        self.wait(in_order(requests.collect()))?;
        Ok(answers.into_inner())
    }
}
