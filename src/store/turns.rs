//! A few at once for each of many, so that none of them takes all there is.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Entries that are looked through for those that nobody uses any more, at least.
const LOOKED_THROUGH: usize = 64;

/// A few turns at once for each key.
#[derive(Debug)]
pub struct Turns<K> {
    most: usize,
    by: Mutex<(HashMap<K, Weak<Semaphore>>, usize)>,
}

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl<K: Eq + Hash> Turns<K> {
    /// At most so many at once for each.
    pub fn new(most: usize) -> Self {
        Self { most, by: Mutex::new((HashMap::new(), LOOKED_THROUGH)) }
    }

    /// Waits for a turn of this key. Whoever asks first has it first.
    pub async fn take(&self, key: K) -> Option<Turn> {
        self.of(key).acquire_owned().await.ok().map(Turn)
    }

    /// A turn of this key, if one is free.
    pub fn try_take(&self, key: K) -> Option<Turn> {
        self.of(key).try_acquire_owned().ok().map(Turn)
    }

    fn of(&self, key: K) -> Arc<Semaphore> {
        let (by, look_through) = &mut *self.by.lock();
        if let Some(known) = by.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if by.len() >= *look_through {
            by.retain(|_, turns| turns.strong_count() > 0);
            *look_through = LOOKED_THROUGH.max(2 * by.len());
        }
        let turns = Arc::new(Semaphore::new(self.most));
        by.insert(key, Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_has_turns_of_its_own() {
        let turns = Turns::new(2);
        let (first, second) = (turns.try_take("a").unwrap(), turns.take("a").await.unwrap());
        assert!(turns.try_take("a").is_none() && turns.try_take("b").is_some());
        drop(first);
        let third = turns.take("a").await.unwrap();
        assert!(turns.try_take("a").is_none());
        drop((second, third));
        assert!(turns.try_take("a").is_some());
    }

    #[tokio::test]
    async fn what_nobody_uses_is_forgotten() {
        let turns = Turns::new(1);
        let held = turns.try_take(0).unwrap();
        for key in 1..10_000 {
            drop(turns.try_take(key));
        }
        assert!(turns.by.lock().0.len() <= 2 * LOOKED_THROUGH);
        assert!(turns.try_take(0).is_none(), "it is still held");
        drop(held);
    }
}
