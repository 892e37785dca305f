//! The store on PostgreSQL.
//!
//! The same statements as on the embedded file, in the words of `dialect.rs`. One connection writes, and another one
//! outcomes, each on a thread of its own: what two nodes may write at a time, two connections of one may. A few others read,
//! a snapshot each, and remove what is old. A connection that is lost comes back by itself; what is asked meanwhile is
//! answered with [`StoreError::Unavailable`], and a commit whose answer was lost with [`StoreError::Unknown`].

mod address;
pub mod backup;
mod cluster;
mod dialect;
mod hints;
mod open;
mod session;
mod transaction;
mod values;

use std::sync::Arc;

use cluster::Member;
pub use cluster::Membership;
pub use open::OpenOptions;
use session::{Kind, Link};

use super::cluster::Cluster;
use super::sql::conn::Conn;
use super::sql::threads::{Readers, Writer};
use super::sql::{Channel, Driver, Memory, SqlStore, sweep};
use super::{Horizon, StoreError, SweepPlace, Swept};

/// A store on a PostgreSQL database.
pub type PostgresStore = SqlStore<Postgres>;

/// A PostgreSQL database, as one node has it open.
pub struct Postgres {
    writer: Writer<(Link, Memory)>,
    /// What writes outcomes.
    settler: Writer<(Link, Memory)>,
    readers: Readers<Link>,
    member: Option<Arc<Member>>,
}

impl Driver for Postgres {
    async fn read<T: Send + 'static>(&self, query: impl Fn(Conn) -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
        self.readers.run(move |link| link.transaction(Kind::Reads, &query)).await
    }

    const SETTLES_BESIDE: bool = true;

    async fn write<G: Send + Sync + 'static, T: Send + 'static>(
        &self,
        channel: Channel,
        given: G,
        work: impl Fn(&G, Conn, &mut Memory) -> Result<T, StoreError> + Send + 'static,
    ) -> (Option<G>, Result<T, StoreError>) {
        let writer = match channel {
            Channel::Main => &self.writer,
            Channel::Outcomes => &self.settler,
        };
        let ran = writer.run(move |(link, memory)| {
            let mut again = false;
            let result = link.transaction(Kind::Writes, |conn| {
                if std::mem::replace(&mut again, true) {
                    memory.cross();
                }
                work(&given, conn, memory)
            });
            if result.is_err() {
                memory.forget();
            }
            Ok((given, result))
        });
        match ran.await {
            Ok((given, result)) => (Some(given), result),
            Err(error) => (None, Err(error)),
        }
    }

    /// Beside the writer, so that no report waits for it.
    async fn sweep(&self, horizon: Horizon, place: SweepPlace) -> Result<Swept, StoreError> {
        self.readers.run(move |link| link.transaction(Kind::Writes, |conn| sweep::sweep(conn, &horizon, place))).await
    }

    fn cluster(&self) -> Option<Arc<dyn Cluster>> {
        self.member.clone().map(|member| member as _)
    }

    /// PostgreSQL writes over removed rows when it vacuums; that and its log are the operator's (docs/security.md).
    async fn scrub(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
