//! Parse, run, exit code.

fn main() -> std::process::ExitCode {
    ringback::cli::main()
}
