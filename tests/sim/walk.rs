//! What may happen, and walks of it that a seed draws.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::faulty::Fault;
use crate::sink::Sink;

pub const VENDORS: usize = 2;
pub const RECEIVERS: usize = 3;
/// References of a vendor: few, so that reports meet.
pub const REFERENCES: usize = 12;
/// Steps of a walk.
const STEPS: usize = 45;

/// How a receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    Slow,
    Broken,
    Busy,
    Torn,
    Silent,
    Gone,
    /// It accepts everything but a few events, which it never accepts.
    Picky,
}

/// What a person does with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Connect,
    Enable,
    EnableAndReplay,
    Disable,
    Pause,
    Resume,
    Rotate,
    CancelPending,
    Delete,
    ReplayAll,
    ReplayMissed,
    ReplayFailed,
}

/// One thing that happens. Numbers say which of those that there are then.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reports of one request: references and statuses.
    Report {
        vendor: usize,
        claims: Vec<(usize, &'static str)>,
    },
    /// An event of the platform's own; one with the same key is the same event.
    Publish {
        vendor: usize,
        key: usize,
    },
    /// A new endpoint at a receiver.
    Add {
        vendor: usize,
        receiver: usize,
        settings: usize,
    },
    /// Other settings.
    Change {
        endpoint: usize,
        settings: usize,
    },
    Do {
        endpoint: usize,
        verb: Verb,
    },
    /// One of the latest deliveries again.
    Resend {
        endpoint: usize,
        nth: usize,
    },
    Cancel {
        endpoint: usize,
        nth: usize,
    },
    /// A person decides a contradiction.
    Resolve {
        nth: usize,
        how: &'static str,
    },
    Feel {
        receiver: usize,
        mood: Mood,
    },
    /// Time passes.
    Pass {
        seconds: u64,
    },
    /// Somebody sets the clock back.
    SetBack {
        seconds: u64,
    },
    /// Somebody sets the clock forward; no time passes.
    JumpAhead {
        hours: u64,
    },
    /// The log goes nowhere, or does not go on at all.
    Log(Sink),
    /// Another session locks a vendor's rows on PostgreSQL.
    LockRow {
        vendor: usize,
    },
    /// The SQLite file is moved away, and put back.
    MoveFile,
    /// An endpoint whose receiver is well gets a new event soon.
    Prompt {
        endpoint: usize,
    },
    /// The next commits fail.
    Fail {
        fault: Fault,
        commits: usize,
    },
    /// The server is stopped in good order and started.
    Restart,
    /// It dies, in the middle of a request or not, and is started.
    Crash {
        reporting: Option<usize>,
    },
    /// The engine has a moment.
    Breathe,
}

/// The walk of a seed.
pub fn draw(seed: u64) -> Vec<Step> {
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..STEPS).map(|_| step(&mut rng)).collect()
}

fn claims(rng: &mut SmallRng) -> Vec<(usize, &'static str)> {
    let status = |rng: &mut SmallRng| *["queued", "success", "success", "failed"].choose(rng).expect("some");
    (0..rng.random_range(1..6)).map(|_| (rng.random_range(0..REFERENCES), status(rng))).collect()
}

fn step(rng: &mut SmallRng) -> Step {
    let vendor = rng.random_range(0..VENDORS);
    let endpoint = rng.random_range(0..64);
    match rng.random_range(0..100) {
        0..26 => Step::Report { vendor, claims: claims(rng) },
        26..30 => Step::Publish { vendor, key: rng.random_range(0..5) },
        30..34 => Step::Add { vendor, receiver: rng.random_range(0..RECEIVERS), settings: rng.random_range(0..64) },
        34..37 => Step::Change { endpoint, settings: rng.random_range(0..64) },
        37..52 => Step::Do { endpoint, verb: verb(rng) },
        52..57 => Step::Resend { endpoint, nth: rng.random_range(0..16) },
        57..59 => Step::Cancel { endpoint, nth: rng.random_range(0..16) },
        59..63 => Step::Resolve { nth: rng.random_range(0..8), how: ["reversed", "late_success", "dismissed"].choose(rng).expect("some") },
        63..73 => Step::Feel { receiver: rng.random_range(0..RECEIVERS), mood: mood(rng) },
        73..85 => Step::Pass { seconds: *[1, 6, 40, 200, 3600, 3 * 3600, 26 * 3600].choose(rng).expect("some") },
        85..86 => other(rng, vendor),
        86..91 => {
            let fault = *[Fault::Before, Fault::Full, Fault::After, Fault::After].choose(rng).expect("some");
            Step::Fail { fault, commits: rng.random_range(1..4) }
        }
        91..92 => Step::Prompt { endpoint },
        92..93 => Step::Restart,
        93..96 => Step::Crash { reporting: rng.random_bool(0.6).then_some(vendor) },
        _ => Step::Breathe,
    }
}

/// What happens to a server's surroundings, and seldom.
fn other(rng: &mut SmallRng, vendor: usize) -> Step {
    match rng.random_range(0..20) {
        0..7 => Step::SetBack { seconds: rng.random_range(1..600) },
        7..13 => Step::JumpAhead { hours: *[1, 24, 2400].choose(rng).expect("some") },
        13..17 => Step::Log(*[Sink::Well, Sink::Fails, Sink::Blocks].choose(rng).expect("some")),
        17..19 => Step::LockRow { vendor },
        _ => Step::MoveFile,
    }
}

fn verb(rng: &mut SmallRng) -> Verb {
    use Verb::{
        CancelPending, Connect, Delete, Disable, Enable, EnableAndReplay, Pause, ReplayAll, ReplayFailed, ReplayMissed, Resume, Rotate,
    };
    let verbs = [
        Connect,
        Enable,
        Enable,
        EnableAndReplay,
        EnableAndReplay,
        Disable,
        Disable,
        Pause,
        Resume,
        Resume,
        Rotate,
        CancelPending,
        Delete,
        ReplayAll,
        ReplayMissed,
        ReplayMissed,
        ReplayFailed,
    ];
    *verbs.choose(rng).expect("some")
}

fn mood(rng: &mut SmallRng) -> Mood {
    use Mood::{Broken, Busy, Gone, Picky, Silent, Slow, Torn, Well};
    *[Well, Well, Well, Well, Slow, Broken, Broken, Busy, Torn, Silent, Gone, Picky, Picky].choose(rng).expect("some")
}
