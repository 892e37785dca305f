//! Parse, run, exit code.

/// Requests are made on one thread and let go of on another, which this allocator is better at than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ringback::cli::main()
}
