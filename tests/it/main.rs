//! The whole server, from its API to its receivers (see `harness`).

mod access;
mod bad_days;
mod cancelling;
mod client;
mod clock;
mod command_line;
mod conflicts;
mod delivery;
mod doors;
mod endpoints;
mod failing;
mod faults;
mod feed;
mod ground_rules;
mod guard;
mod harness;
mod isolation;
mod lanes;
#[path = "../crash/mail_server.rs"]
mod mail_server;
mod mails;
mod observing;
mod oversight;
mod pausing;
mod personal_data;
mod proxy;
mod receiver;
mod recovery;
mod replays;
mod reports;
mod traces;
mod transport;
mod windows;
