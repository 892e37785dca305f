//! A few at once for each of many, so that none of them takes all there is.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::limits;

/// Entries that are looked through for those that nobody uses any more, at least.
const LOOKED_THROUGH: usize = 64;

/// A few turns at once for each key.
#[derive(Debug)]
pub struct Turns<K> {
    most: usize,
    by: Mutex<(HashMap<K, Weak<Share>>, usize)>,
}

/// What one key has.
#[derive(Debug)]
struct Share {
    free: Arc<Semaphore>,
    /// Work since the last pause.
    worked: Mutex<Duration>,
}

/// A turn; it ends when this is dropped, after a pause as long as the work that was done.
#[derive(Debug)]
pub struct Turn {
    held: Option<OwnedSemaphorePermit>,
    share: Arc<Share>,
}

impl<K: Eq + Hash> Turns<K> {
    /// At most so many at once for each.
    pub fn new(most: usize) -> Self {
        Self { most, by: Mutex::new((HashMap::new(), LOOKED_THROUGH)) }
    }

    /// Waits for a turn of this key. Whoever asks first has it first.
    pub async fn take(&self, key: K) -> Option<Turn> {
        let share = self.of(key);
        let held = share.free.clone().acquire_owned().await.ok();
        held.map(|held| Turn { held: Some(held), share })
    }

    /// A turn of this key, if one is free.
    pub fn try_take(&self, key: K) -> Option<Turn> {
        let share = self.of(key);
        let held = share.free.clone().try_acquire_owned().ok();
        held.map(|held| Turn { held: Some(held), share })
    }

    fn of(&self, key: K) -> Arc<Share> {
        let (by, look_through) = &mut *self.by.lock();
        if let Some(known) = by.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if by.len() >= *look_through {
            by.retain(|_, share| share.strong_count() > 0);
            *look_through = LOOKED_THROUGH.max(2 * by.len());
        }
        let share = Arc::new(Share { free: Arc::new(Semaphore::new(self.most)), worked: Mutex::default() });
        by.insert(key, Arc::downgrade(&share));
        share
    }
}

impl Turn {
    /// So long it has worked. Work that is too short for a pause counts for a later turn of the same key, as long as one is held
    /// or waited for.
    pub fn worked(&self, took: Duration) {
        *self.share.worked.lock() += took;
    }

    fn pause(&self) -> Option<Duration> {
        let mut worked = self.share.worked.lock();
        (*worked >= limits::READ_PAUSE_AFTER).then(|| std::mem::take(&mut *worked).min(limits::READ_PAUSE_MAX))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(pause) = self.pause() else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let (held, share) = (self.held.take(), self.share.clone());
        runtime.spawn(async move {
            sleep(pause).await;
            drop((held, share));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stopwatch;

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
    async fn a_turn_that_worked_is_followed_by_a_pause_as_long() {
        let turns = Turns::new(1);
        let first = turns.try_take("a").unwrap();
        first.worked(limits::READ_PAUSE_AFTER / 2);
        drop(first);
        let second = turns.try_take("a").expect("that was too short for a pause");
        let watch = Stopwatch::start();
        second.worked(Duration::from_millis(60));
        drop(second);
        assert!(turns.try_take("a").is_none(), "the next one waits");
        let third = turns.take("a").await.unwrap();
        assert!(watch.elapsed() >= Duration::from_millis(60));
        third.worked(Duration::from_secs(60));
        drop(third);
        drop(turns.take("a").await);
        assert!(watch.elapsed() < Duration::from_secs(20), "a pause has an end");
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
