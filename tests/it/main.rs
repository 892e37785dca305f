//! The whole server, from its API to its receivers (see `harness`).

mod client;
mod delivery;
mod harness;
mod lanes;
mod receiver;
