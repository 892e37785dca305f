//! The real binary, from the outside: killed at any moment, and against receivers built on other people's code.
//!
//! [`server`] runs the binary on a file and starts it again on the same one; [`api`] talks to it; [`receiver`] is an
//! endpoint inside this process and [`programs`] are those outside. [`kill`] kills it under the load of [`load`] and
//! has [`audit`] compare what was promised with what is there; [`replay`] kills it in the midst of a long replay;
//! [`descriptors`] leaves it no file descriptor, [`full_disk`] no room, [`log_output`] no log; [`signals`] starts it with signals ignored; [`files`] tears, removes and links its files, [`resources`] little memory; [`retention`] has it remove what is old while
//! traffic goes on; [`receivers`] sends ten thousand events to each stock receiver, [`documented`] runs those that docs/receiving.md shows, [`examples`] the projects of examples/receivers,
//! and [`schema`] holds the answers of all calls against the OpenAPI document. [`mails`] kills it before and after a mail
//! that it owes, to the server of [`mail_server`]. [`nodes`] has three of them share a database and kills, stops and cuts them off, by the way of [`cutter`];
//! [`submitting`] kills it while it hands recharges to a provider; [`day`] runs examples/day.py; [`listening`] cuts off `ringback listen`; [`moving`] moves a file to PostgreSQL, [`backup`] runs `ringback backup` and `ringback restore`. [`proxies`] tries to pass off another address through the proxies of docs/scaling.md. [`postgres`] is a database that can be made to crash, [`tls`] reaches it by TLS, and [`pooler`] through PgBouncer. [`bench`] runs all its benchmarks, briefly. `RINGBACK_CRASH_SEED` repeats a run's choices (not its timing).

mod api;
mod audit;
mod backup;
mod bench;
mod connections;
mod cutter;
mod day;
mod descriptors;
mod documented;
mod examples;
mod files;
mod full_disk;
mod kill;
mod listening;
mod load;
mod log_output;
mod mail_server;
mod mails;
mod moving;
mod nodes;
mod panel;
mod pooler;
mod postgres;
mod power;
mod programs;
mod proxies;
mod receiver;
mod receivers;
mod replay;
mod resources;
mod retention;
mod schema;
mod server;
mod signals;
mod stranger;
mod submitting;
mod tls;
mod wait;
