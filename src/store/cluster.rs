//! What nodes on one database agree on: who lives, who owns which shard, and what one tells another.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;

use super::StoreError;
use crate::domain::id::EndpointId;
use crate::domain::shard::{Holding, Shard};
use crate::domain::time::Timestamp;

/// How things stand when a node has renewed its lease.
#[derive(Debug)]
pub struct Standing {
    /// The node's number. It is another one after its lease had run out and somebody else got it.
    pub node: u8,
    /// All shards by their numbers, with what this node has just taken.
    pub holdings: Vec<Holding>,
    /// Shards that it has just taken from a node that has not given them back.
    pub seized: Vec<Shard>,
    /// Shards beyond its share.
    pub surplus: Vec<Shard>,
}

/// What one node tells another, which may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hint {
    /// The endpoint has new runs.
    Opened {
        /// The endpoint.
        endpoint: EndpointId,
        /// The number of the first of them.
        from: i64,
    },
    /// The endpoint has runs beside its events that are due.
    Due(EndpointId),
    /// What is known of the endpoint's runs may be wrong.
    Dropped(EndpointId),
    /// The endpoint was changed.
    Changed(EndpointId),
    /// A replay has something to do.
    Replaying,
    /// Shards have changed hands, or may.
    Shards,
    /// It may be that something was not heard.
    Missed,
}

/// Hints that wait, each once.
#[derive(Debug, Default)]
pub struct Hints {
    opened: HashMap<EndpointId, i64>,
    others: HashSet<Hint>,
}

impl Hints {
    /// Adds one.
    pub fn add(&mut self, hint: Hint) {
        match hint {
            Hint::Opened { endpoint, from } => {
                let first = self.opened.entry(endpoint).or_insert(from);
                *first = from.min(*first);
            }
            other => drop(self.others.insert(other)),
        }
    }

    /// All of them; none is left.
    pub fn take(&mut self) -> Vec<Hint> {
        let opened = self.opened.drain().map(|(endpoint, from)| Hint::Opened { endpoint, from });
        opened.chain(self.others.drain()).collect()
    }
}

/// To whom something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum To {
    /// One node.
    Node(u8),
    /// All, the one that tells it included.
    All,
}

/// A node as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: u8,
    /// Where it listens.
    pub address: String,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// How long its lease stands, in milliseconds by the clock of the database; negative if it has run out.
    pub lease_ms: i64,
    /// Shards that it owns.
    pub shards: u64,
}

/// A node's part in a database that it shares with others.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// Gives shards back, renews the lease (or makes it), and takes what is free of this node's share. Where the lease had run
    /// out, the node still has what nobody has taken meanwhile. The lease stands for
    /// its length from before this was called.
    ///
    /// # Errors
    /// Nothing of it may have come to pass.
    async fn renew(&self, given_back: Vec<Shard>) -> Result<Standing, StoreError>;

    /// Gives all back and the lease up.
    ///
    /// # Errors
    /// It was not done; the lease runs out by itself.
    async fn leave(&self) -> Result<(), StoreError>;

    /// Tells something to others, soon. It may be lost.
    fn tell(&self, to: To, hint: Hint);

    /// What others have told since the last time; waits until there is something.
    async fn heard(&self) -> Vec<Hint>;

    /// Bytes of the database.
    ///
    /// # Errors
    /// It cannot be asked.
    async fn size(&self) -> Result<u64, StoreError>;

    /// All nodes that live, or have lately.
    ///
    /// # Errors
    /// The database cannot be asked.
    async fn nodes(&self) -> Result<Vec<Node>, StoreError>;
}
