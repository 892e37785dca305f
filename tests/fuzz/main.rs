//! A short run of every fuzz target: its corpus, and for a moment what comes of changing it at random.
//!
//! `tests/fuzz/corpus` has a folder for each target. What failed once is kept there; `make fuzz` looks for more.

mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use ringback::clock::Stopwatch;

/// How long a target is given changed inputs: `RINGBACK_FUZZ_SECONDS`, or this.
const USUAL: f64 = 2.0;
const INPUT_MAX: usize = 4096;
/// Bytes that mean something to one of the readers.
const MARKS: &[u8] = b"\"'\\{}[]():;,=.-+ \n\t0Ff#@/%&";

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder(target)).unwrap_or_else(|error| panic!("the target {target} has no corpus: {error}"));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).expect("an input"))).collect()
}

/// The target holds, or the test fails with the input.
fn hold(run: fn(&[u8]), input: &[u8], whence: &str) {
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        panic!("{whence}: {:?}", String::from_utf8_lossy(input));
    }
}

/// One of the inputs with some changes.
fn changed(inputs: &[(PathBuf, Vec<u8>)], random: &mut SmallRng) -> Vec<u8> {
    let pick = |random: &mut SmallRng| inputs.choose(random).map(|(_, input)| input.clone()).unwrap_or_default();
    let mut input = pick(random);
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=input.len());
        let to = (at + random.random_range(0..16)).min(input.len());
        match random.random_range(0..7) {
            0 => drop(input.drain(at..to)),
            1 => input.insert(at, random.random()),
            2 => input.insert(at, *MARKS.choose(random).expect("marks")),
            3 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            4 => {
                let part: Vec<u8> = input[at..to].repeat(random.random_range(1..4));
                drop(input.splice(at..at, part));
            }
            5 => {
                let other = pick(random);
                let from = (0..=other.len()).choose(random).unwrap_or(0);
                let end = (from + random.random_range(0..64)).min(other.len());
                drop(input.splice(at..to, other[from..end].iter().copied()));
            }
            _ => input.truncate(at.max(input.len() / 2)),
        }
    }
    input.truncate(INPUT_MAX);
    input
}

/// A number that the caller of the tests has set.
#[expect(clippy::disallowed_methods, reason = "it bounds a test, and is no setting of the program")]
fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(name: &str) {
    let (_, target) = targets::TARGETS.into_iter().find(|(known, _)| *known == name).expect("a target");
    let inputs = corpus(name);
    assert!(inputs.len() > 3, "{name} has a corpus");
    for (path, input) in &inputs {
        hold(target, input, &path.display().to_string());
    }
    let seconds = setting("RINGBACK_FUZZ_SECONDS").unwrap_or(USUAL);
    let seed = setting("RINGBACK_FUZZ_SEED").unwrap_or_else(rand::random);
    let (mut random, watch, mut count) = (SmallRng::seed_from_u64(seed), Stopwatch::start(), 0_u64);
    while watch.elapsed() < Duration::from_secs_f64(seconds) {
        hold(target, &changed(&inputs, &mut random), &format!("seed {seed}, input {count}; keep it in tests/fuzz/corpus/{name}"));
        count += 1;
    }
    println!("{name}: {} inputs of the corpus, {count} changed ones", inputs.len());
}

macro_rules! tests {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn every_target_has_a_test() {
            assert_eq!([$(stringify!($name)),*], targets::TARGETS.map(|(name, _)| name));
        }
    };
}

tests!(forwarded, callback, url, json, retry_after, config, catalogue, statement);
