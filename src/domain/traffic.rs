//! What happened in a minute: the figures of the overview, without a look at the deliveries themselves.

use std::time::Duration;

/// Steps of the latency scale: each is a fifth longer than the one before, from a millisecond to more than a day.
const STEPS: usize = 102;
const STEP: f64 = 1.2;

/// Counts of a stretch of time. They add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Reports and events taken.
    pub accepted: u64,
    /// Attempts that came back.
    pub attempts: u64,
    /// Attempts that succeeded.
    pub succeeded: u64,
    latency: Vec<u32>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { accepted: 0, attempts: 0, succeeded: 0, latency: vec![0; STEPS] }
    }
}

impl Traffic {
    /// Counts a delivery that took this long from its event to its first success.
    pub fn delivered(&mut self, took: Duration) {
        let millis = took.as_secs_f64() * 1000.0;
        let step = if millis <= 1.0 { 0 } else { millis.log(STEP).ceil() as usize };
        self.latency[step.min(STEPS - 1)] += 1;
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.accepted == 0 && self.attempts == 0
    }

    /// Adds another stretch.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.attempts += other.attempts;
        self.succeeded += other.succeeded;
        self.latency.iter_mut().zip(&other.latency).for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
    }

    /// The latency that this part (`0.5`, `0.99`) of the deliveries did not exceed; right to a fifth. `None` without any.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let all: u64 = self.latency.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all as f64 * part).ceil().max(1.0) as u64;
        let mut reached = 0;
        let step = self.latency.iter().position(|count| {
            reached += u64::from(*count);
            reached >= wanted
        })?;
        Some(Duration::from_secs_f64(STEP.powi(step as i32) / 1000.0))
    }

    /// The counts of the scale as bytes, for a store.
    pub fn latency_bytes(&self) -> Vec<u8> {
        self.latency.iter().flat_map(|count| count.to_le_bytes()).collect()
    }

    /// From what a store kept; counts beyond the scale are dropped.
    pub fn restore(accepted: u64, attempts: u64, succeeded: u64, bytes: &[u8]) -> Self {
        let mut latency: Vec<u32> = bytes.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
        latency.resize(STEPS, 0);
        Self { accepted, attempts, succeeded, latency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_fifth() {
        let mut traffic = Traffic::default();
        assert_eq!(traffic.quantile(0.5), None);
        (1..=1000).for_each(|millis| traffic.delivered(Duration::from_millis(millis)));
        for (part, millis) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = traffic.quantile(part).unwrap().as_secs_f64() * 1000.0;
            assert!((millis..=millis * 1.2).contains(&found), "{part}: {found}");
        }
        traffic.delivered(Duration::from_secs(1_000_000));
        assert!(traffic.quantile(1.0).unwrap() > Duration::from_secs(24 * 3600));
    }

    #[test]
    fn sums_and_bytes_keep_every_count() {
        let mut one = Traffic { accepted: 3, attempts: 2, succeeded: 1, ..Traffic::default() };
        one.delivered(Duration::from_millis(7));
        let back = Traffic::restore(one.accepted, one.attempts, one.succeeded, &one.latency_bytes());
        assert_eq!(back, one);
        one.add(&back);
        assert_eq!((one.accepted, one.attempts, one.succeeded), (6, 4, 2));
        assert_eq!(one.latency.iter().sum::<u32>(), 2);
    }
}
