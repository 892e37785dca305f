//! Time and chance as things that are passed in: [`Clock`] (now, sleep until) and [`Entropy`] (ids, keys, jitter),
//! each real in the program and manual in tests. Nothing else in the crate reads a clock or draws a random number
//! (clippy.toml refuses it).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{RngCore, SeedableRng};

use crate::domain::id::RawId;
use crate::domain::time::Timestamp;

/// Where "now" comes from.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The present time, UTC.
    fn now(&self) -> Timestamp;
    /// Time on a clock that nobody can set, and that goes on while the machine sleeps.
    fn steady(&self) -> Duration;
    /// Returns once as much time has passed as there is from now to `until`, whatever the clock is set to meanwhile.
    async fn sleep_until(&self, until: Timestamp);
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(since.as_millis() as i64)
    }

    fn steady(&self) -> Duration {
        BootTime::now().0
    }

    async fn sleep_until(&self, until: Timestamp) {
        tokio::time::sleep(until.since(self.now())).await;
    }
}

#[derive(Debug, Clone, Copy)]
struct ManualTime {
    shown: Timestamp,
    /// As on a machine, sleep is measured by what has passed and not by what is shown.
    passed: Duration,
}

/// A clock that stands still until it is moved; for tests.
#[derive(Debug)]
pub struct ManualClock {
    time: Mutex<ManualTime>,
    moved: tokio::sync::watch::Sender<()>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { time: Mutex::new(ManualTime { shown: now, passed: Duration::ZERO }), moved: tokio::sync::watch::Sender::new(()) }
    }

    /// Moves the clock on and wakes all who waited for a time it has reached.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time.lock();
        (time.shown, time.passed) = (time.shown.plus(by), time.passed + by);
        drop(time);
        self.moved.send_replace(());
    }

    /// Sets the clock forward, as an operator or a time server would. No time passes.
    pub fn set_forward(&self, by: Duration) {
        let mut time = self.time.lock();
        time.shown = time.shown.plus(by);
    }

    /// Sets the clock back, as an operator or a time server would. No time passes.
    pub fn set_back(&self, by: Duration) {
        let mut time = self.time.lock();
        time.shown = Timestamp::from_millis(time.shown.as_millis() - by.as_millis() as i64);
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.time.lock().shown
    }

    fn steady(&self) -> Duration {
        self.time.lock().passed
    }

    async fn sleep_until(&self, until: Timestamp) {
        let mut moved = self.moved.subscribe();
        let ManualTime { shown, passed } = *self.time.lock();
        let end = passed + until.since(shown);
        while self.time.lock().passed < end {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Measures how long something took, on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts measuring.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads it")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Whole microseconds since the start.
    pub fn micros(&self) -> u32 {
        self.elapsed().as_micros().min(u32::MAX as u128) as u32
    }
}

/// A moment on the clock that goes on while the machine sleeps and that nobody can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(Duration);

impl BootTime {
    /// The present moment.
    pub fn now() -> Self {
        let rustix::time::Timespec { tv_sec, tv_nsec } = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self(Duration::new(tv_sec.cast_unsigned(), tv_nsec as u32))
    }

    /// The moment that lies this far ahead.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0 + by)
    }

    /// The time from `earlier` to this moment; none if it lies before.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Where random bytes come from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`. What the real one yields is fit for keys.
    fn fill(&self, bytes: &mut [u8]);

    /// A number in `-1.0..=1.0`, evenly spread; for jitter.
    fn jitter(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0
    }
}

/// The operating system's generator, through the thread's cryptographic one.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that draws")]
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// A repeatable generator; for tests.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<rand::rngs::StdRng>);

impl SeededEntropy {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(rand::rngs::StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }
}

/// Makes ids: milliseconds since 2020 (41 bits), the node (8), a counter (14). Ids of one process never repeat and
/// never go back, whatever the clock does; ids of two nodes differ by the node's number.
#[derive(Debug)]
pub struct Ids {
    node: AtomicU8,
    last: AtomicI64,
}

impl Ids {
    const NODE_BITS: u32 = 8;
    const COUNTER_BITS: u32 = 14;
    const EPOCH: i64 = 1_577_836_800_000;

    /// The generator of one node.
    pub fn new(node: u8) -> Self {
        Self { node: AtomicU8::new(node), last: AtomicI64::new(0) }
    }

    /// The node's number.
    pub fn node(&self) -> u8 {
        self.node.load(Ordering::SeqCst)
    }

    /// From now on ids are those of this node.
    pub fn set_node(&self, node: u8) {
        self.node.store(node, Ordering::SeqCst);
    }

    /// A new id for something made at `now`.
    pub fn next(&self, now: Timestamp) -> RawId {
        let floor = Self::tick(now);
        let before = self
            .last
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some((last + 1).max(floor)))
            .expect("the closure always answers");
        let tick = (before + 1).max(floor);
        let (millis, counter) = (tick >> Self::COUNTER_BITS, tick & ((1 << Self::COUNTER_BITS) - 1));
        RawId::new((((millis << Self::NODE_BITS) | i64::from(self.node())) << Self::COUNTER_BITS) | counter)
    }

    /// From now on ids are greater than this one, which is there already.
    pub fn go_beyond(&self, id: i64) {
        let millis = id >> (Self::NODE_BITS + Self::COUNTER_BITS);
        let tick = (millis << Self::COUNTER_BITS) | (id & ((1 << Self::COUNTER_BITS) - 1));
        self.last.fetch_max(tick, Ordering::SeqCst);
    }

    /// The smallest id that something made at `at` can have: a time range as a range of ids.
    pub fn floor(at: Timestamp) -> RawId {
        RawId::new((Self::tick(at) >> Self::COUNTER_BITS) << (Self::NODE_BITS + Self::COUNTER_BITS))
    }

    /// When something with this id was made, as far as its maker's clock had got.
    pub fn time_of(id: i64) -> Timestamp {
        Timestamp::from_millis((id >> (Self::NODE_BITS + Self::COUNTER_BITS)) + Self::EPOCH)
    }

    fn tick(at: Timestamp) -> i64 {
        at.as_millis().saturating_sub(Self::EPOCH).clamp(0, (1 << 41) - 1) << Self::COUNTER_BITS
    }
}

/// What everything that acts in time is given: the clock, the chance, and the ids made from both.
#[derive(Clone)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// New ids.
    pub ids: Arc<Ids>,
}

impl Environment {
    /// The real ones, for node number `node`.
    pub fn system(node: u8) -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), ids: Arc::new(Ids::new(node)) }
    }

    /// A new id as of now.
    pub fn next_id(&self) -> RawId {
        self.ids.next(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_even_when_the_clock_goes_back() {
        let ids = Ids::new(3);
        let start = Timestamp::from_millis(1_800_000_000_000);
        let mut last = ids.next(start);
        for step in [0, 0, 5, -1000, 1] {
            let next = ids.next(Timestamp::from_millis(start.as_millis() + step));
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn a_new_process_goes_beyond_what_is_there() {
        let (before, after, now) = (Ids::new(0), Ids::new(0), Timestamp::from_millis(1_800_000_000_000));
        let there = before.next(now);
        after.go_beyond(there.get());
        assert!(after.next(Timestamp::from_millis(now.as_millis() - 5000)) > there);
    }

    #[test]
    fn a_time_is_the_floor_of_its_ids() {
        let (ids, at) = (Ids::new(255), Timestamp::from_millis(1_800_000_000_000));
        let id = ids.next(at);
        assert!(Ids::floor(at) <= id);
        assert_eq!(Ids::time_of(id.get()), at);
        assert!(ids.next(at) < Ids::floor(Timestamp::from_millis(at.as_millis() + 1)));
    }
}
