//! The rules, pure: no async, no I/O, no SQL, no clock. Whatever is decided about a recharge, an event or an
//! attempt is decided here, by functions of their arguments, and tested as such.

pub mod alert;
pub mod attempt;
pub mod audit;
pub mod catalogue;
pub mod circuit;
pub mod conflict;
pub mod delivery;
pub mod email;
pub mod endpoint;
pub mod event;
pub mod figure;
pub mod filter;
pub mod id;
pub mod json;
pub mod money;
pub mod provider;
pub mod recharge;
pub mod reference;
pub mod replay;
pub mod retry;
pub mod secret;
pub mod session;
pub mod shard;
pub mod spreadsheet;
pub mod statement;
pub mod submission;
pub mod time;
pub mod token;
pub mod traffic;
pub mod user;
pub mod vendor;
