//! The decision about what follows an attempt, under the policy that holds if nobody sets another.

use std::time::Duration;

use divan::{Bencher, black_box};
use ringback::config::{Config, Sources};
use ringback::domain::attempt::{Outcome, OutcomeKind, Phases};
use ringback::domain::retry::{self, Run};

use crate::ledger::START;

#[divan::bench(sample_size = 1000)]
fn success(bencher: Bencher) {
    decide(bencher, OutcomeKind::Succeeded, 204);
}

#[divan::bench(sample_size = 1000)]
fn failure(bencher: Bencher) {
    decide(bencher, OutcomeKind::Rejected, 503);
}

fn decide(bencher: Bencher, kind: OutcomeKind, status: u16) {
    let policy = Config::read(Sources::default()).unwrap().policy;
    let run = Run { attempts: 3, deadline: START.plus(policy.deadline) };
    let outcome = Outcome {
        kind,
        status: Some(status),
        error: None,
        phases: Phases::default(),
        address: None,
        retry_after: Some(Duration::from_secs(1)),
        answer_headers: None,
        answer_body: None,
    };
    bencher.bench(|| retry::decide(black_box(run), black_box(&outcome), black_box(&policy), black_box(START), black_box(0.5)));
}
