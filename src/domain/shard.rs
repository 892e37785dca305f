//! Shards: the parts into which endpoints are divided among nodes. Only the owner of an endpoint's shard sends to it.

use super::id::EndpointId;

/// How many there are, whatever the number of nodes.
pub const SHARDS: usize = 256;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

impl Shard {
    /// The shard of an endpoint. Ids of one moment differ in their last bits and others in their first ones, so that they are
    /// stirred (by the golden ratio) before the upper bits are taken.
    pub fn of(endpoint: EndpointId) -> Self {
        let stirred = endpoint.get().cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self((stirred >> 56) as u8)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// The shard with this number, if there is one.
    pub fn numbered(number: i64) -> Option<Self> {
        u8::try_from(number).ok().map(Self)
    }

    /// Its number, from 0.
    pub fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// What a node knows of a shard when it looks at all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// The node that owns it, if one does.
    pub owner: Option<Owner>,
    /// How often it has come to an owner.
    pub epoch: i64,
}

/// The owner of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub node: u8,
    /// Whether its lease stands.
    pub lives: bool,
}

/// What a node does at one look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Shards that it takes.
    pub takes: Vec<Shard>,
    /// Those of them that their last owner has not given back: it may still have requests under way.
    pub seizes: Vec<Shard>,
    /// Shards beyond its share, to be given back once nothing of theirs is under way.
    pub surplus: Vec<Shard>,
}

/// What the node `me` takes and gives back, of `nodes` nodes that live: everybody gets the same share, rounded up, and nobody
/// takes what a living one holds.
pub fn moves(holdings: &[Holding], me: u8, nodes: usize) -> Moves {
    let share = SHARDS.div_ceil(nodes.max(1));
    let lives = |holding: &Holding| holding.owner.filter(|owner| owner.lives);
    let shards = || Shard::all().zip(holdings);
    let mine: Vec<Shard> = shards().filter(|(_, of)| lives(of).is_some_and(|owner| owner.node == me)).map(|(shard, _)| shard).collect();
    let free = shards().filter(|(_, of)| lives(of).is_none()).take(share.saturating_sub(mine.len()));
    let mut moves = Moves { surplus: mine.get(share..).unwrap_or_default().to_vec(), ..Moves::default() };
    for (shard, of) in free {
        moves.takes.push(shard);
        moves.seizes.extend(of.owner.map(|_| shard));
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::{Holding, Moves, Owner, SHARDS, Shard, moves};
    use crate::clock::Ids;
    use crate::domain::time::Timestamp;

    const FREE: Holding = Holding { owner: None, epoch: 0 };

    fn owned(node: u8, lives: bool) -> Holding {
        Holding { owner: Some(Owner { node, lives }), epoch: 1 }
    }

    /// What comes of it when this node has done as it should.
    fn after(mut holdings: Vec<Holding>, me: u8, nodes: usize) -> Vec<Holding> {
        let Moves { takes, surplus, .. } = moves(&holdings, me, nodes);
        takes.iter().for_each(|shard| holdings[shard.number()] = owned(me, true));
        surplus.iter().for_each(|shard| holdings[shard.number()] = FREE);
        holdings
    }

    fn held(holdings: &[Holding], node: u8) -> usize {
        holdings.iter().filter(|of| of.owner.is_some_and(|owner| owner.node == node)).count()
    }

    #[test]
    fn endpoints_made_together_spread_evenly() {
        let ids = Ids::new(1);
        let mut counts = [0; SHARDS];
        for made in 0..25_600 {
            let at = Timestamp::from_millis(1_800_000_000_000 + made / 100);
            counts[Shard::of(ids.next(at).into()).number()] += 1;
        }
        assert!(counts.iter().all(|count| (40..=180).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_first_node_takes_all_and_gives_half_of_them_to_the_second() {
        let first = after(vec![FREE; SHARDS], 1, 1);
        assert_eq!(held(&first, 1), SHARDS);
        let both = after(after(first, 1, 2), 2, 2);
        assert_eq!((held(&both, 1), held(&both, 2)), (128, 128));
        let settled = moves(&both, 1, 2);
        assert_eq!(settled, Moves::default());
    }

    #[test]
    fn three_nodes_come_to_rest() {
        let mut holdings = vec![FREE; SHARDS];
        for node in [1, 2, 3, 1, 2, 3, 1, 2, 3] {
            holdings = after(holdings, node, 3);
        }
        assert!((1..=3).all(|node| (84..=86).contains(&held(&holdings, node))));
        assert!((1..=3).all(|node| moves(&holdings, node, 3) == Moves::default()));
    }

    #[test]
    fn what_a_dead_node_held_is_seized() {
        let mut holdings = vec![FREE; SHARDS];
        holdings[7] = owned(2, false);
        holdings[8] = owned(3, true);
        let moves = moves(&holdings, 1, 2);
        assert_eq!(moves.takes.len(), 128);
        assert_eq!(moves.seizes, [Shard::numbered(7).unwrap()]);
        assert!(!moves.takes.contains(&Shard::numbered(8).unwrap()));
    }
}
