//! The targets of tests/fuzz/targets.rs under libFuzzer. `RINGBACK_FUZZ_TARGET` names the one to run.

#![no_main]

#[path = "../../tests/fuzz/targets.rs"]
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let run = TARGET.get_or_init(|| {
        let wanted = std::env::var("RINGBACK_FUZZ_TARGET").unwrap_or_default();
        let found = targets::TARGETS.into_iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("there is no target {wanted:?}")).1
    });
    run(data);
});
