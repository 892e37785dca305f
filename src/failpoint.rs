//! Places where a test lets the program die as a power cut would. An optimised build has none of them.

/// Dies when the place that `RINGBACK_FAILPOINT` names has been reached as often as it says (`commit.after:3`).
#[cfg(debug_assertions)]
pub fn reach(place: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static NAMED: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();

    #[allow(clippy::disallowed_methods, reason = "it is no setting: the program that people run does not have it")]
    fn named() -> Option<(String, AtomicU32)> {
        let text = std::env::var("RINGBACK_FAILPOINT").ok()?;
        let (place, times) = text.split_once(':').expect("RINGBACK_FAILPOINT is a place and a number, such as commit.after:3");
        Some((place.to_owned(), AtomicU32::new(times.parse().expect("RINGBACK_FAILPOINT ends with a number"))))
    }

    if let Some((name, left)) = NAMED.get_or_init(named)
        && name == place
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).expect("a process may kill itself");
    }
}

/// Nothing: this build has no such places.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub const fn reach(_: &str) {}
