//! Ringback makes sure a vendor learns what became of every recharge.
//!
//! The map, from the outside in; each layer names only those below it (`tests/tidy.rs` holds it):
//!
//! - [`cli`] and [`http`]: how people and programs reach it.
//! - [`ops`]: the product's verbs; what both call.
//! - [`engine`]: what runs by itself, sending what was accepted.
//! - [`store`]: the ledger's memory; [`wire`]: events as requests; [`transport`]: requests on the network.
//! - [`domain`]: the rules, pure.
//! - [`fields`], [`limits`], [`clock`], [`meters`], [`tls`], [`logging`], [`panics`]: what all of them use.
//! - [`traces`]: what the engine tells a collector of its work.
//! - [`app`] puts the parts together, and [`config`] says how.
#![warn(missing_docs)]
// They panic where the stream cannot be written: see cli/output.rs.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod failpoint;
pub mod fields;
pub mod http;
pub mod limits;
pub mod logging;
pub mod meters;
pub mod ops;
pub mod panel;
pub mod panics;
pub mod providers;
pub mod store;
pub mod tls;
pub mod traces;
pub mod transport;
pub mod wire;
