//! Bounded waiting for a condition.

use std::time::Duration;

use ringback::clock::Stopwatch;

const POLL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds; panics with `what` when `limit` has passed.
pub async fn until(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let watch = Stopwatch::start();
    while !condition().await {
        assert!(watch.elapsed() < limit, "waited {limit:?} in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until `condition` holds, however long that takes, as long as `progress` goes on changing within `limit`.
pub async fn while_progressing(what: &str, limit: Duration, progress: impl Fn() -> u64, mut condition: impl AsyncFnMut() -> bool) {
    let (mut watch, mut before) = (Stopwatch::start(), progress());
    while !condition().await {
        let now = progress();
        if now != before {
            (watch, before) = (Stopwatch::start(), now);
        }
        assert!(watch.elapsed() < limit, "nothing moved for {limit:?} (stands at {now}): {what}");
        tokio::time::sleep(POLL * 10).await;
    }
}
