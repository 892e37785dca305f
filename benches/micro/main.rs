//! What the parts cost, each by itself. These are figures to compare with and not tests: no bound stands here, and those
//! of one machine say nothing about another. `make micro` measures everything, `cargo bench --bench micro -- store` what
//! has `store` in its name.

mod guard;
mod ledger;
mod reports;
mod retry;
mod signing;
mod store;

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}
