//! What a panic does to the server.
//!
//! A request handler that panics answers 500, and its state goes with it. Any other panic (a background task, the store's
//! writer, an attempt) may leave work that is never finished, so it ends the process with [`EXIT_CODE`]. Nothing that was
//! accepted is lost by that: it is as safe as `kill -9`, and a supervisor starts the server again. A half-living server that
//! still reports ready would be worse.

use std::any::Any;
use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

/// Exit code of a process that ended because of a panic (`EX_SOFTWARE`).
pub const EXIT_CODE: i32 = 70;

static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Panics since the process started.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Applies the rule of this module from now on. `flush` runs before the process ends.
pub fn end_process_on_panic(flush: impl Fn() + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |panic| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let (message, location) = (message(panic), panic.location().map(ToString::to_string));
        let thread = std::thread::current();
        let (location, thread) = (location.as_deref(), thread.name());
        if CONTAINED.get() {
            tracing::error!(message, location, "a request handler panicked; the request is answered with 500");
        } else {
            tracing::error!(message, location, thread, exit_code = EXIT_CODE, "a task panicked; the process ends");
            flush();
            std::process::exit(EXIT_CODE);
        }
    }));
}

fn message<'p>(panic: &'p PanicHookInfo) -> &'p str {
    panic.payload_as_str().unwrap_or("no message")
}

/// Runs `work`, whose panic is an error and does not end the process.
///
/// # Errors
/// The panic's payload.
pub async fn contain<T>(work: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    poll_fn(move |cx| {
        let outer = CONTAINED.replace(true);
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx)));
        CONTAINED.set(outer);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_contained_panic_is_an_error() {
        assert_eq!(contain(async { 1 }).await.unwrap(), 1);
        let panicked = contain(async {
            tokio::task::yield_now().await;
            assert!(CONTAINED.get());
            panic!("on purpose")
        });
        assert!(panicked.await.map(|(): ()| ()).is_err());
        assert!(!CONTAINED.get());
    }
}
