//! The node's lease and shards, in a transaction of their own on a connection of their own.
//!
//! One node at a time looks at them, under an advisory lock that ends with the transaction. All times are the database's.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::address::Address;
use super::hints::Hints;
use super::session::{Kind, Link};
use crate::clock::{Entropy, Ids};
use crate::domain::shard::{self, Holding, Owner, SHARDS, Shard};
use crate::limits;
use crate::store::StoreError;
use crate::store::cluster::{Cluster, Hint, Node, Standing, To};
use crate::store::sql::conn::{Conn, Result, Row, params};
use crate::store::sql::threads::Readers;

/// What a node is called, and for how long at a time it says that it lives.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Where it listens, for people.
    pub address: String,
    /// Length of its lease.
    pub lease: Duration,
}

/// A node among others.
pub struct Member {
    membership: Membership,
    incarnation: i64,
    ids: Arc<Ids>,
    /// The number, once there is one.
    number: Mutex<Option<u8>>,
    links: Readers<Link>,
    hints: Hints,
}

impl Member {
    pub(super) fn new(membership: Membership, address: &Arc<Address>, ids: Arc<Ids>, entropy: &dyn Entropy) -> Self {
        let mut incarnation = [0; 8];
        entropy.fill(&mut incarnation);
        Self {
            membership,
            incarnation: i64::from_le_bytes(incarnation),
            ids,
            number: Mutex::new(None),
            links: Readers::new(vec![Link::new(Arc::clone(address))]),
            hints: Hints::start(Arc::clone(address)),
        }
    }

    async fn transaction<T: Send + 'static>(&self, work: impl Fn(Conn) -> Result<T> + Send + 'static) -> Result<T> {
        self.links.run(move |link| link.transaction(Kind::Writes, &work)).await
    }
}

#[async_trait]
impl Cluster for Member {
    async fn renew(&self, given_back: Vec<Shard>) -> Result<Standing> {
        let (membership, incarnation, number) = (self.membership.clone(), self.incarnation, *self.number.lock());
        let me = Me { membership, incarnation, number };
        let standing = self.transaction(move |conn| renew(conn, &me, &given_back)).await?;
        if number != Some(standing.node) {
            *self.number.lock() = Some(standing.node);
            self.ids.set_node(standing.node);
            self.hints.listen_as(standing.node);
        }
        if !standing.seized.is_empty() || number.is_none() {
            self.tell(To::All, Hint::Shards);
        }
        Ok(standing)
    }

    async fn leave(&self) -> Result<()> {
        let Some(number) = self.number.lock().take() else { return Ok(()) };
        let incarnation = self.incarnation;
        let left = self.transaction(move |conn| leave(conn, number, incarnation)).await;
        self.hints.tell(To::All, Hint::Shards);
        self.hints.flush().await;
        left
    }

    fn tell(&self, to: To, hint: Hint) {
        self.hints.tell(to, hint);
    }

    async fn heard(&self) -> Vec<Hint> {
        self.hints.heard().await
    }

    async fn size(&self) -> Result<u64> {
        self.transaction(|conn| conn.one("SELECT pg_database_size(current_database())", params![], |row| row.get(0))).await
    }

    async fn nodes(&self) -> Result<Vec<Node>> {
        self.transaction(nodes).await
    }
}

struct Me {
    membership: Membership,
    incarnation: i64,
    number: Option<u8>,
}

/// Lets one node at a time go on, until its transaction ends; answers the database's time.
fn enter(conn: Conn) -> Result<i64> {
    conn.first("SELECT pg_advisory_xact_lock(hashtext('ringback nodes'), hashtext(current_schema()))", params![], |_| Ok(()))?;
    now(conn)
}

fn now(conn: Conn) -> Result<i64> {
    conn.one("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)", params![], |row| row.get(0))
}

fn renew(conn: Conn, me: &Me, given_back: &[Shard]) -> Result<Standing> {
    let now = enter(conn)?;
    conn.execute("DELETE FROM node WHERE expires_at < ?1", params![now - millis(limits::NODE_NUMBER_RESTS)])?;
    let (node, is_new) = number(conn, me, now)?;
    let expires_at = now + millis(me.membership.lease);
    const RENEW: &str = "INSERT INTO node (number, incarnation, address, version, started_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
        ON CONFLICT (number) DO UPDATE SET incarnation = excluded.incarnation, address = excluded.address, version = excluded.version, \
        started_at = CASE WHEN node.incarnation = excluded.incarnation THEN node.started_at ELSE excluded.started_at END, \
        expires_at = excluded.expires_at";
    conn.execute(RENEW, params![i64::from(node), me.incarnation, me.membership.address, env!("CARGO_PKG_VERSION"), now, expires_at])?;
    for shard in given_back {
        const GIVE: &str = "UPDATE shard SET owner = NULL WHERE id = ?1 AND owner = ?2";
        conn.later(GIVE, params![shard.number(), i64::from(node)])?;
    }
    const SHARDS_NOW: &str = "SELECT s.owner, s.epoch, coalesce(n.expires_at > ?1, FALSE) AS lives FROM shard s LEFT JOIN node n ON n.number = s.owner ORDER BY s.id";
    let read = |row: &Row| {
        let owner: Option<i64> = row.get("owner")?;
        let owner = owner.and_then(|owner| u8::try_from(owner).ok()).map(|node| (node, row.get("lives")));
        let owner = owner.map(|(node, lives)| lives.map(|lives| Owner { node, lives })).transpose()?;
        Ok(Holding { owner, epoch: row.get("epoch")? })
    };
    let mut holdings = conn.all(SHARDS_NOW, params![now], read)?;
    if holdings.len() != SHARDS {
        return Err(StoreError::Damaged(format!("the table shard has {} rows and not {SHARDS}", holdings.len())));
    }
    if is_new {
        // What has its number was an earlier process's.
        let own = holdings.iter_mut().filter_map(|of| of.owner.as_mut()).filter(|owner| owner.node == node);
        own.for_each(|owner| owner.lives = false);
    }
    let living = conn.one("SELECT count(*) FROM node WHERE expires_at > ?1", params![now], |row| row.get(0))?;
    let moves = shard::moves(&holdings, node, living);
    for shard in &moves.takes {
        const TAKE: &str = "UPDATE shard SET owner = ?2, epoch = epoch + 1 WHERE id = ?1";
        conn.later(TAKE, params![shard.number(), i64::from(node)])?;
        let of = &mut holdings[shard.number()];
        *of = Holding { owner: Some(Owner { node, lives: true }), epoch: of.epoch + 1 };
    }
    Ok(Standing { node, holdings, seized: moves.seizes, surplus: moves.surplus })
}

/// This node's number, and whether it has just got it.
fn number(conn: Conn, me: &Me, now: i64) -> Result<(u8, bool)> {
    if let Some(number) = me.number {
        const MINE: &str = "SELECT 1 FROM node WHERE number = ?1 AND incarnation = ?2";
        if conn.exists(MINE, params![i64::from(number), me.incarnation])? {
            return Ok((number, false));
        }
    }
    const FREE: &str = "SELECT k.number FROM generate_series(1, 255) AS k (number) LEFT JOIN node n ON n.number = k.number \
        WHERE n.number IS NULL OR n.expires_at <= ?1 ORDER BY coalesce(n.expires_at, 0), k.number LIMIT 1";
    let free = conn.first(FREE, params![now], |row| row.get::<i64>(0))?;
    let free = free.and_then(|number| u8::try_from(number).ok());
    Ok((free.ok_or_else(|| StoreError::Unavailable("255 nodes share this database; there is no number left".to_owned()))?, true))
}

fn leave(conn: Conn, number: u8, incarnation: i64) -> Result<()> {
    enter(conn)?;
    if conn.execute("DELETE FROM node WHERE number = ?1 AND incarnation = ?2", params![i64::from(number), incarnation])? == 1 {
        conn.execute("UPDATE shard SET owner = NULL WHERE owner = ?1", params![i64::from(number)])?;
    }
    Ok(())
}

pub(super) fn nodes(conn: Conn) -> Result<Vec<Node>> {
    let now = now(conn)?;
    const NODES: &str = "SELECT n.number, n.address, n.version, n.started_at, n.expires_at, \
        (SELECT count(*) FROM shard s WHERE s.owner = n.number) AS shards FROM node n ORDER BY n.number";
    let read = |row: &Row| {
        Ok(Node {
            number: row.get::<u16>("number")? as u8,
            address: row.get("address")?,
            version: row.get("version")?,
            started_at: row.get("started_at")?,
            lease_ms: row.get::<i64>("expires_at")? - now,
            shards: row.get("shards")?,
        })
    };
    conn.all(NODES, params![], read)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
