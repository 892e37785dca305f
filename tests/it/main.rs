//! The whole server, from its API to its receivers (see `harness`).

mod access;
mod bad_days;
mod client;
mod clock;
mod command_line;
mod conflicts;
mod delivery;
mod doors;
mod endpoints;
mod faults;
mod feed;
mod guard;
mod harness;
mod isolation;
mod lanes;
mod observing;
mod personal_data;
mod proxy;
mod receiver;
mod replays;
mod reports;
mod traces;
mod transport;
mod windows;
