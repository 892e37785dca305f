//! Every bound of the program in one place, and the relations between them, asserted when it is compiled.
//!
//! What an operator may change is a setting (see `config`); the defaults of those settings stand here too,
//! so that a reader finds each number once.

use std::time::Duration;

// --- HTTP API -----------------------------------------------------------------------------------------------------

/// Largest request body the API reads, in bytes; above it a request is answered 413.
pub const BODY_MAX: usize = 1 << 20;
/// Lists and objects within each other in JSON that others wrote.
pub const JSON_DEPTH_MAX: usize = 127;
/// Most reports in one `POST /v1/reports`.
pub const REPORTS_MAX: usize = 1000;
/// Attempts shown with one delivery, and with each of a list: the latest ones. A lone delivery to a dead endpoint makes
/// one a minute.
pub const ATTEMPTS_SHOWN: usize = 100;
/// Attempts shown with each delivery of a list.
pub const ATTEMPTS_LISTED: usize = 10;
/// Page size of a list when none is asked for, and the largest that may be asked for.
pub const PAGE_DEFAULT: usize = 50;
/// Largest page of a list.
pub const PAGE_MAX: usize = 200;
/// Longest time range that a filter without an index of its own may scan.
pub const RANGE_MAX: Duration = Duration::from_secs(31 * 24 * 3600);
/// Log lines that wait to be written; further ones are dropped and counted.
pub const LOG_LINES_QUEUED: usize = 8192;
/// Rows that one list request may look at before it answers with what it has and a cursor.
/// It keeps each read transaction far below the 100 ms that a checkpoint may have to wait for it, and a page of the panel below 50.
pub const SCAN_MAX: usize = 10_000;
/// How long a token that was found valid is believed without asking the store again. A change made by another
/// process is in effect within a second, so this stays well below that.
pub const TOKEN_CACHE: Duration = Duration::from_millis(400);
/// Tokens of a vendor in each mode. Revoked ones do not count.
pub const TOKENS_PER_STREAM: u32 = 100;
/// Tokens remembered at once; beyond it the cache starts anew.
pub const TOKEN_CACHE_MAX: usize = 10_000;

/// Head of a request, in bytes.
pub const REQUEST_HEAD_MAX: usize = 64 << 10;
/// How often connections are checked against their time limits.
pub const CONNECTIONS_LOOKED_AT: Duration = Duration::from_millis(500);
/// Wait after a connection could not be accepted.
pub const ACCEPT_RETRY: Duration = Duration::from_secs(1);
/// Default of `header_timeout`.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
/// Default of `body_timeout`: 1 MiB at 300 kbit/s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Default of `idle_timeout`, longer than the documented proxies keep connections (60 s at most): the side that sends requests
/// should be the one that closes.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Default of `max_connections`, unless half of the files that the process may open are fewer.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Default of `max_connections_per_address`.
pub const CONNECTIONS_PER_ADDRESS: u32 = 512;

// --- Text fields, in characters unless said otherwise ----------------------------------------------------------------

/// `reference_no`, `provider_ref`, `provider`, `operator`, `dedupe_key`.
pub const REFERENCE_MAX: usize = 128;
/// `connection_no`.
pub const CONNECTION_NO_MAX: usize = 64;
/// `name`, `description`, `email`.
pub const NAME_MAX: usize = 200;
/// `reason` of a report.
pub const REASON_MAX: usize = 500;
/// URL of an endpoint, in bytes.
pub const URL_MAX: usize = 2048;
/// Patterns in an endpoint's `event_types`, and the length of each and of an event's type.
pub const EVENT_TYPES_MAX: usize = 50;
/// Length of an event type, in characters.
pub const EVENT_TYPE_MAX: usize = 100;
/// Custom headers of an endpoint.
pub const HEADERS_MAX: usize = 20;
/// Name and value together of all custom headers, in bytes.
pub const HEADERS_BYTES_MAX: usize = 8 << 10;
/// Networks in a token's `allowed_ips`.
pub const ALLOWED_IPS_MAX: usize = 100;
/// Raw bytes of a `standard` secret: at least, at most, and what we make (Standard Webhooks 1.0).
pub const STANDARD_SECRET: std::ops::RangeInclusive<usize> = 24..=64;
/// Raw bytes of a `standard` secret that we make.
pub const STANDARD_SECRET_NEW: usize = 32;
/// Characters of a `globaltopup` secret that we make, and the only length accepted without `legacy_secret`.
pub const GLOBALTOPUP_SECRET: usize = 32;
/// Longest `globaltopup` secret that may be imported with `legacy_secret`.
pub const LEGACY_SECRET_MAX: usize = 256;
/// Longest `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;
/// Longest pause of an endpoint (contract, section 4).
pub const PAUSE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a former secret goes on signing, if the request does not say.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3600);
/// The longest such overlap.
pub const OVERLAP_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Former secrets that may be in their overlap at once. Each costs a signature in every request.
pub const FORMER_SECRETS_MAX: usize = 3;
/// Characters of a password: at least, and at most.
pub const PASSWORD: std::ops::RangeInclusive<usize> = 10..=200;
/// Longest `wait` of a feed, in seconds.
pub const WAIT_MAX: i64 = 30;
/// Bytes of facts in a page of the feed, which ends with the event that goes beyond.
pub const FEED_BYTES: usize = 4 << 20;
/// How often a waiting feed looks by itself, whatever the wake-ups said.
pub const FEED_POLL: Duration = Duration::from_secs(1);
/// Connections that follow the events of one stream, or wait for them.
pub const FOLLOWERS_PER_STREAM: usize = 20;
/// A follower reads new events at most this often.
pub const FEED_PAUSE: Duration = Duration::from_millis(50);
/// A comment goes out on an idle stream this often, so that proxies keep it open.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What an endpoint's rate may catch up after the program was late: so much time's worth of requests at once.
pub const RATE_SLACK: Duration = Duration::from_millis(50);
/// Largest `rate_limit_per_second` of an endpoint.
pub const RATE_LIMIT_MAX: u32 = 10_000;

// --- Group commit and store --------------------------------------------------------------------------------------

/// Most rows that one transaction takes of what somebody waits for, and as many outcomes beside them. It bounds how long a
/// write waits behind another.
pub const BATCH_ROWS_MAX: usize = 2048;
/// Writes that wait for the committer before callers wait for room.
pub const COMMIT_QUEUE_MAX: usize = 4096;
/// Outcomes that nobody waits for gather this long before they are committed. Until then a crash repeats them.
pub const GATHER_FOR: Duration = Duration::from_millis(10);
/// Writes that are enough for a batch, without waiting for more.
pub const GATHER_MAX: usize = 512;
/// Connections to the database beside those that write; they read, and on PostgreSQL one of them removes what is old.
pub const READERS: usize = 4;
/// Of these, how many one stream has at once for what may take long: lists, lookups, statements, the feed, counts.
pub const READS_AT_ONCE: usize = 1;
/// When such reads of a stream have taken this long, the next one waits for as long, so that what it reads, writes out and sends
/// leaves the processor to others for half of the time.
pub const READ_PAUSE_AFTER: Duration = Duration::from_millis(2);
/// The longest such pause.
pub const READ_PAUSE_MAX: Duration = Duration::from_millis(250);
/// Rows that are fetched from PostgreSQL at a time where it is not known how many are wanted.
pub const PORTAL_ROWS: usize = 100;
/// Numbers for recharges that PostgreSQL is asked for at a time, at least. Those left when a node stops are used by nobody.
pub const NUMBERS_FETCHED: usize = 32;
/// So many times the numbers that a batch lacks are asked for, so that the next ones need not ask.
pub const ID_PREFETCH_FACTOR: usize = 4;
/// How often a transaction is run again that others were in the way of.
pub const TRANSACTION_TRIES: u32 = 10;
/// A counter row is locked before it is read for so long after it was not as it was taken to be, and nothing else is guessed
/// for so long after that was wrong.
pub const LOCK_AFTER_CONFLICT_FOR: Duration = Duration::from_secs(10);
/// A batch takes its reports for the first ones about their recharges if so many times as many before them were.
pub const SPECULATE_AFTER: usize = 16;
/// On a database that other nodes write to, which endpoints fail is read again after this.
pub const HEALTH_KNOWN_FOR: Duration = Duration::from_secs(15);
/// Rows that a move from one database to another takes at a time.
pub const MOVED_AT_ONCE: usize = 1000;
/// How often a node makes sure that what others tell it still comes through. A change made on another node is in effect within
/// a second.
pub const HEARING_CHECKED: Duration = Duration::from_millis(400);
/// Endpoints that one notification names; PostgreSQL takes 8000 bytes.
pub const HINTS_TOLD: usize = 180;
/// How long a node's lease may be: shorter ones run out whenever the database takes a breath.
pub const SHARD_LEASE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// How often a node looks whether what it is to give back is at rest.
pub const GIVE_BACK_EVERY: Duration = Duration::from_millis(100);
/// A number of a node that is gone is not given to another one for so long, in which the one that had it may turn out to have
/// been stopped.
pub const NODE_NUMBER_RESTS: Duration = Duration::from_secs(3600);
/// A connection to PostgreSQL that could not be made is tried again after this, after twice as long, and so on, up to
/// [`RECONNECT_MAX`].
pub const RECONNECT_MIN: Duration = Duration::from_millis(50);
/// The longest wait before a connection is tried again.
pub const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// Pages in the write-ahead log from which on they are moved into the file (4 KiB each: 1 MiB).
pub const WAL_MOVED_FROM: i64 = 256;
/// Pages from which on the log is made to begin anew (16 MiB).
pub const WAL_PAGES: i64 = 4096;
/// Bytes that the log's file keeps to be written over.
pub const WAL_KEPT: i64 = 64 << 20;
/// How often in a row a provider may say nothing before it gets no new recharges for a while.
pub const PROVIDER_FAILURES: u32 = 5;
/// That while, at first; and how long a recharge waits that did not reach its provider.
pub const PROVIDER_RESTS: Duration = Duration::from_secs(10);
/// When a node looks again for what is open in shards that have come to it.
pub const GAINED_LOOKED_AT: Duration = Duration::from_millis(500);
/// How often it is looked for what is to be done for a provider, where nobody says that there is something.
pub const PROVIDER_EVERY: Duration = Duration::from_secs(1);
/// Recharges that a statement reads at a time.
pub const STATEMENT_PAGE: usize = 1000;
/// Recharges that one lookup may ask for.
pub const LOOKUP_MAX: usize = 500;
/// Default of `tolerance`: how far the time of a signed callback may be from the clock.
pub const CALLBACK_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// Levels of a callback's JSON. Real ones have three.
pub const CALLBACK_DEPTH: usize = 16;
/// Values in a callback: fields, items and pairs together. Parsed, each takes about a hundred bytes of memory.
pub const CALLBACK_VALUES: usize = 1000;
/// Bytes of a callback that are kept.
pub const CALLBACK_KEPT: usize = 4096;
/// References of the latest recharges that are known in memory before they are written into their table. Twice as many are,
/// at most (some 50 bytes each), and as many recharges are looked through at the start.
pub const REFERENCES_KNOWN: usize = 131_072;
/// As many of them are written at least, in one transaction.
pub const REFERENCES_WRITTEN: usize = 256;
/// Deliveries that one bounded step of cancelling, expiring or replaying touches.
pub const STEP_ROWS_MAX: usize = 1000;
/// Rows that one step of the janitor removes from the file. It bounds how long a commit waits behind one.
pub const SWEEP_STEP_ROWS: usize = 125;
/// The same on PostgreSQL, where no commit of this node waits behind one.
pub const SWEEP_STEP_ROWS_BESIDE: usize = 1000;
/// Old events that one step of the janitor looks at, to find those that no open delivery keeps.
pub const SWEEP_SCAN: usize = 2000;
/// Pages that one step gives back to the file system (4 KiB each).
pub const SWEEP_STEP_PAGES: i64 = 32;
/// Free pages that stay in the file for what comes next (4 KiB each: 16 MiB).
pub const FREE_PAGES_KEPT: i64 = 4096;
/// Rows that one step of erasing a person's data looks at.
pub const ERASE_SCAN: usize = 5000;
/// How long after a person's data was erased an attempt may come back that was under way then; longer than any takes.
pub const ERASED_LATELY: Duration = Duration::from_secs(3600);
/// How long the answer to a request with an `Idempotency-Key` is kept (contract, section 2).
pub const ANSWER_KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// How long a batch waits for a lock of another session on PostgreSQL, before it is halved to find what is locked.
pub const BATCH_LOCK_WAIT: Duration = Duration::from_millis(250);
/// Such waits in one round of the committer, at most.
pub const LOCK_WAITS_PER_ROUND: u32 = 8;
/// A write that meets a lock is tried again after this, then after twice as long, and so on, up to [`LOCKED_RETRY_MAX`].
pub const LOCKED_RETRY: Duration = Duration::from_millis(250);
/// The longest pause between two such tries.
pub const LOCKED_RETRY_MAX: Duration = Duration::from_secs(1);
/// Such tries in one round of the committer.
pub const LOCKED_TRIED_AT_ONCE: usize = 2;
/// A write that still meets a lock after this time is refused. A node that stops in the middle of a transaction has its locks for
/// two seconds.
pub const LOCKED_WAIT: Duration = Duration::from_secs(5);
/// Writes of one vendor that wait for a lock, and changes that do; further ones are refused at once.
pub const LOCKED_WRITES_MAX: usize = 256;
/// Bytes that are written to find out whether a store that failed can be written again.
pub const PROBE_BYTES: usize = 64 << 10;
/// How often that is tried.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A database file up to this size, in bytes, is checked for damage before it is served after an unclean stop; a larger one in
/// the background.
pub const CHECKED_AT_START: u64 = 64 << 20;
/// How often a server looks whether its database file is still there.
pub const FILE_WATCHED_EVERY: Duration = Duration::from_secs(1);

// --- Engine ------------------------------------------------------------------------------------------------------

/// Failures in a row after which a lane holds.
pub const HOLD_AFTER: u32 = 10;
/// Failures in a row after which a lane has only the share of those that fail. One attempt that timed out is enough: it
/// is hanging, not failing, that takes the budget away from others.
pub const FAILING_AFTER: u32 = 3;
/// Longest time between two probes of a lane that holds.
pub const PROBE_MAX: Duration = Duration::from_secs(60);
/// An endpoint whose oldest attempt under way takes longer than this, and longer by far than its attempts usually take, counts
/// as one that hangs until it answers.
pub const STALLED_AFTER: Duration = Duration::from_millis(100);
/// A lane with a success in this time is proven: it does not count against the share of the unproven.
pub const PROVEN_FOR: Duration = Duration::from_secs(300);
/// The unproven lanes' share of the node's in-flight budget is one part in this many.
pub const UNPROVEN_SHARE: usize = 4;
/// From one part in so many of the node's in-flight budget on, proven lanes get further slots only if they have none, or have
/// answered since.
pub const PRESSURE_FROM: usize = 4;
/// Deliveries a second, for each processor, that go out behind everything else: those of replays, and those of endpoints
/// that are behind while others are not. So much leaves the processors free enough that an event which comes meanwhile
/// goes out nearly as if there were nothing else (docs/benchmarks.md, *backlog*).
pub const BEHIND_PER_SECOND: u32 = 3000;
/// A replay's delivery takes as much of that pace as this many others: an endpoint that is behind owes its events now, and
/// what was asked for again is in no haste.
pub const REPLAY_COSTS: u32 = 4;
/// What they may catch up after the program was late. It is less than a rate limit may: what a busy node misses it does
/// not need at once.
pub const BEHIND_SLACK: Duration = Duration::from_millis(2);
/// An endpoint whose events went out as they came is taken into account by those that are behind for this long.
pub const LATELY: Duration = Duration::from_millis(100);
/// A retry due later than this waits in the store, not in memory.
pub const RETRY_IN_MEMORY: Duration = Duration::from_secs(60);
/// Deliveries read from the store in one refill of a lane.
pub const REFILL_ROWS: usize = 512;
/// Deliveries that a lane without a recent success holds in memory.
pub const UNPROVEN_WINDOW: usize = 64;
/// Deliveries that a lane keeps in memory while it holds.
pub const HOLDING_WINDOW: usize = 8;
/// Reads of the store that the engine has under way at once.
pub const CHORES_MAX: usize = 4;
/// How often the store is asked which endpoints have open deliveries, whatever the hints said.
pub const SWEEP_EVERY: Duration = Duration::from_secs(15);
/// Endpoints looked at in one step of the sweep.
pub const SWEEP_ROWS: usize = 1000;
/// A clock that shows a time this long before the latest one seen was set back. Less than that is two threads that read
/// it one after the other, or a time server's small correction.
pub const CLOCK_BACK: Duration = Duration::from_secs(5);
/// A sweep that comes this much later than it should follows a leap: the clock was set forward, or the machine slept.
pub const CLOCK_LEAP: Duration = Duration::from_secs(60);
/// A running server doubts its clock if that jumps ahead by more than this.
pub const CLOCK_JUMP_MAX: Duration = Duration::from_secs(3600);
/// At a start the clock is doubted if it is ahead by more than this of the time that the store remembers: a server may have been
/// off for a weekend.
pub const CLOCK_GAP_MAX: Duration = Duration::from_secs(3 * 24 * 3600);
/// A clock in doubt is believed after this time.
pub const CLOCK_PROBATION: Duration = Duration::from_secs(24 * 3600);
/// Wait before an outcome that the store could not take is offered again.
pub const SETTLE_RETRY: Duration = Duration::from_secs(1);
/// Wait before a store that did not answer is asked again.
pub const STORE_RETRY: Duration = Duration::from_secs(5);
/// A lane without work is forgotten, with its pace and its health, after this time.
pub const LANE_IDLE: Duration = Duration::from_secs(600);
/// After a fault of our own (the proxy is down, no file descriptor is left) no attempt begins for this long, and twice as
/// long with each further one.
pub const FAULT_PAUSE: Duration = Duration::from_secs(1);
/// Longest of these pauses.
pub const FAULT_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Memory that a delivery in the window is charged for beside its event's facts, in bytes.
pub const DELIVERY_OVERHEAD: usize = 256;

/// Replays to one endpoint that may run at once.
pub const REPLAYS_RUNNING: u32 = 50;
/// Runs of one replay that are open at once; the others wait in their range. A step opens what is missing of them, once
/// half are, which bounds how long a commit waits behind a step.
pub const REPLAY_OPEN_MAX: usize = 64;
/// Runs of one replay that failed and wait for their retry, at most: they do not count as open, so that a receiver that fails
/// some requests does not hold up the rest.
pub const REPLAY_WAITING_MAX: usize = 8192;
/// Runs of replays that a lane holds in memory, at most.
pub const REPLAY_WINDOW: usize = 128;
/// A replay's attempts under way are at most this part of the endpoint's cap, and one at least.
pub const REPLAY_SHARE: u32 = 2;
/// Attempts under way to an endpoint that came back by itself, until its backlog is gone.
pub const HALF_OPEN_IN_FLIGHT: u32 = 2;
/// How often endpoints are looked at by the rules: warnings, disabling, probes, pauses that end.
pub const WATCH_EVERY: Duration = Duration::from_secs(10);
/// Endpoints that one look of a rule takes.
pub const WATCH_ROWS: usize = 200;
/// Probes of disabled endpoints that are under way at once.
pub const PROBES_AT_ONCE: usize = 16;
/// How often running replays are looked at, if nothing wakes them.
pub const REPLAY_EVERY: Duration = Duration::from_secs(1);
/// How often the janitor begins anew, once nothing old is left.
pub const SWEEP_PAUSE: Duration = Duration::from_secs(60);
/// The janitor rests this much longer than its last step took: it has a sixth of the writer's time at most, or of a
/// connection's on PostgreSQL.
pub const SWEEP_REST: u32 = 5;
/// How long minutes of traffic are kept.
pub const TRAFFIC_KEPT_FOR: Duration = Duration::from_secs(31 * 24 * 3600);

// --- Mails -------------------------------------------------------------------------------------------------------

/// How often the outbox is looked at.
pub const MAIL_EVERY: Duration = Duration::from_secs(5);
/// Time between two mails to one address: the first goes at once, what comes later is gathered.
pub const MAIL_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Waits after a mail that could not be sent, in seconds; the last one again and again.
pub const MAIL_RETRIES: [u64; 5] = [60, 300, 900, 1800, 3600];
/// Addresses that one look at the outbox takes.
pub const MAIL_ADDRESSES: usize = 50;
/// Alerts that one mail spells out.
pub const MAIL_ALERTS_MAX: usize = 50;
/// Causes of an endpoint's failures that its alert names.
pub const CAUSES_MAILED: usize = 3;
/// Longest subject, in bytes.
pub const MAIL_SUBJECT_MAX: usize = 150;
/// How long a mail server may take for one mail.
pub const MAIL_TIMEOUT: Duration = Duration::from_secs(30);

// --- Transport ---------------------------------------------------------------------------------------------------

/// A kept-alive connection without a request is closed after this time.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(30);
/// A kept-alive connection is replaced after this time, however busy it is, so that a name that moves is followed.
pub const CONNECTION_AGE: Duration = Duration::from_secs(60);
/// Addresses of one name that a connect tries before it gives up.
pub const CONNECT_ADDRESSES_MAX: usize = 8;
/// How long a connect to one address has to itself before the next one is tried next to it (RFC 8305, section 5).
pub const CONNECT_HEAD_START: Duration = Duration::from_millis(250);
/// How long the addresses of one family wait for those of the other, once they are known (RFC 8305, section 3).
pub const RESOLUTION_DELAY: Duration = Duration::from_millis(300);
/// How long the addresses of this machine's interfaces are known without reading them again.
pub const OWN_ADDRESSES_KNOWN: Duration = Duration::from_secs(5);
/// Heads of an answer, interim ones (1xx) included: bytes that are read before the answer counts as invalid.
pub const ANSWER_HEAD_MAX: usize = 64 << 10;
/// Headers of an answer, that of a proxy to a CONNECT included; `ANSWER_HEAD_MAX` bounds their bytes.
pub const ANSWER_HEADERS_MAX: usize = 2048;
/// Bytes of a provider's answer: it is parsed whole, and only what is kept of it is shortened.
pub const PROVIDER_ANSWER_MAX: usize = 1 << 20;
/// Head of an answer that is kept with the attempt, in bytes.
pub const ANSWER_HEADERS_KEPT: usize = 4 << 10;
/// Longest error text that is kept with an attempt, in bytes.
pub const ERROR_TEXT_MAX: usize = 300;

// --- Traces ------------------------------------------------------------------------------------------------------

/// Spans that wait to be sent; further ones are dropped and counted.
pub const SPANS_WAITING_MAX: usize = 8192;
/// Spans in one request to the collector.
pub const SPANS_BATCH: usize = 512;
/// Spans gather this long before they are sent, unless they are as many as a request takes.
pub const SPANS_GATHER_FOR: Duration = Duration::from_secs(1);
/// For one request to the collector, everything included.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

// --- Defaults of settings (docs/config.md) -----------------------------------------------------------------------

/// `max_in_flight`: attempts under way at once on one node.
pub const MAX_IN_FLIGHT: u32 = 2048;
/// `max_in_flight_per_endpoint`: default and ceiling of an endpoint's own cap.
pub const MAX_IN_FLIGHT_PER_ENDPOINT: u32 = 32;
/// `lane_window`: deliveries held in memory for one endpoint.
pub const LANE_WINDOW: u32 = 1024;
/// `lane_window_bytes`: the same in bytes.
pub const LANE_WINDOW_BYTES: u64 = 1 << 20;
/// `window_bytes`: bytes of deliveries held in memory by one node.
pub const WINDOW_BYTES: u64 = 64 << 20;
/// `unsettled_max`: outcomes that wait for the store before sending pauses.
pub const UNSETTLED_MAX: u32 = 4096;
/// `answer_read_max`: bytes of an answer's body that are read.
pub const ANSWER_READ_MAX: u64 = 64 << 10;
/// `answer_kept`: bytes of an answer's body that are kept with the attempt.
pub const ANSWER_KEPT: u64 = 4 << 10;
/// `event_payload_max`: largest `data` of an event.
pub const EVENT_PAYLOAD_MAX: u64 = 256 << 10;
/// `endpoints_per_vendor`.
pub const ENDPOINTS_PER_VENDOR: u32 = 50;

const _: () = assert!(HEADER_TIMEOUT.as_secs() < IDLE_TIMEOUT.as_secs() && CONNECTIONS_LOOKED_AT.as_secs() < HEADER_TIMEOUT.as_secs());
const _: () = assert!(CONNECTIONS_PER_ADDRESS as usize <= CONNECTIONS_MAX);
const _: () = assert!(REPORTS_MAX <= BATCH_ROWS_MAX, "a whole request fits into one transaction");
const _: () = assert!(GATHER_MAX <= BATCH_ROWS_MAX && GATHER_MAX < UNSETTLED_MAX as usize, "gathering never stops sending");
const _: () = assert!(PAGE_DEFAULT <= PAGE_MAX && PAGE_MAX < SCAN_MAX);
const _: () = assert!(2 * READS_AT_ONCE < READERS, "both modes of a vendor leave readers to others");
const _: () = assert!(TOKEN_CACHE.as_millis() < 1000, "a revoked token is refused within a second on every node");
const _: () = assert!(ANSWER_KEPT <= ANSWER_READ_MAX, "what is kept was read");
const _: () = assert!(REFILL_ROWS <= LANE_WINDOW as usize, "a refill fits into an empty window");
const _: () = assert!(LANE_WINDOW_BYTES <= WINDOW_BYTES);
const _: () = assert!(EVENT_PAYLOAD_MAX + DELIVERY_OVERHEAD as u64 <= LANE_WINDOW_BYTES, "one largest event fits into a lane");
const _: () = assert!((EVENT_PAYLOAD_MAX as usize) < BODY_MAX, "the largest event fits into a request");
const _: () = assert!(SPANS_BATCH <= SPANS_WAITING_MAX);
const _: () = assert!(FAILING_AFTER < HOLD_AFTER);
const _: () = assert!(FAULT_PAUSE.as_millis() < FAULT_PAUSE_MAX.as_millis());
const _: () = assert!(MAX_IN_FLIGHT_PER_ENDPOINT <= MAX_IN_FLIGHT);
const _: () = assert!(*STANDARD_SECRET.start() <= STANDARD_SECRET_NEW && STANDARD_SECRET_NEW <= *STANDARD_SECRET.end());

// --- The panel ---

/// A session ends by itself after this time.
pub const SESSION: Duration = Duration::from_secs(12 * 3600);
/// Between the password and the second factor lies this time at most.
pub const SECOND_FACTOR_WITHIN: Duration = Duration::from_secs(10 * 60);
/// An invitation is good for this time.
pub const INVITATION: Duration = Duration::from_secs(7 * 24 * 3600);
/// A link to a new password is good for this time.
pub const RESET: Duration = Duration::from_secs(3600);
/// A link into a vendor's panel has to be followed within this time.
pub const PANEL_LINK: Duration = Duration::from_secs(5 * 60);
/// Codes that stand in for a second factor that is lost.
pub const RECOVERY_CODES: usize = 8;
/// A browser in which somebody has logged in is known for this time.
pub const DEVICE: Duration = Duration::from_secs(180 * 24 * 3600);
/// A password that was given this long ago at most need not be given again for a change of what guards the login.
pub const PASSWORD_FRESH: Duration = Duration::from_secs(10 * 60);
/// Links to a new password of one login that are good at once. Each is mailed, and each stays good until one is used.
pub const RESETS_OPEN: u32 = 5;
/// Invitations of a vendor, or of the operator, that can be taken at once.
pub const INVITATIONS_OPEN: u32 = 200;
/// New passwords that are being made out at once, after their requests were answered.
pub const FORGOTTEN_AT_ONCE: usize = 64;

/// So much in a time: all of it at once, and then as it comes back, evenly.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Most at once.
    pub most: u32,
    /// In this time all of it comes back.
    pub within: Duration,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Failed logins of one login from one address.
pub const LOGIN_FAILURES: Allowance = Allowance { most: 10, within: MINUTE };
/// Failed logins of one login from one network.
pub const LOGIN_FAILURES_NEAR: Allowance = Allowance { most: 30, within: MINUTE };
/// Failed logins from one address, whatever login they are of. Many people may come from one.
pub const FAILURES_FROM_ADDRESS: Allowance = Allowance { most: 60, within: MINUTE };
/// Failed logins from one network.
pub const FAILURES_FROM_NETWORK: Allowance = Allowance { most: 240, within: MINUTE };
/// Failures in a browser that is known, and of a password that is asked for again in a session.
pub const FAILURES_OF_KNOWN: Allowance = Allowance { most: 10, within: MINUTE };
/// Wrong codes of one login in browsers that are not known. A code can be guessed; whoever gets here has the password.
pub const CODE_FAILURES: Allowance = Allowance { most: 10, within: Duration::from_secs(10 * 60) };
/// New passwords that are asked for from one address.
pub const FORGOTTEN_FROM_ADDRESS: Allowance = Allowance { most: 10, within: MINUTE };
/// New passwords that are asked for from one network.
pub const FORGOTTEN_FROM_NETWORK: Allowance = Allowance { most: 60, within: MINUTE };
/// Invitations by one vendor's people.
pub const INVITATIONS_OF_VENDOR: Allowance = Allowance { most: 20, within: HOUR };
/// Invitations by one of the operator's people.
pub const INVITATIONS_OF_OPERATOR: Allowance = Allowance { most: 200, within: HOUR };
/// Invitations of one address, by whichever vendors' people, and as many by the operator's.
pub const INVITATIONS_TO_ADDRESS: Allowance = Allowance { most: 3, within: HOUR };
/// Handshakes and tests of one endpoint.
pub const TESTS_TO_ENDPOINT: Allowance = Allowance { most: 20, within: Duration::from_secs(40) };
/// Handshakes and tests of a vendor in one mode.
pub const TESTS_OF_STREAM: Allowance = Allowance { most: 120, within: MINUTE };
/// Handshakes and tests of a vendor in one mode that are under way at once.
pub const TESTS_AT_ONCE: usize = 8;
/// Handshakes and tests that a node has under way at once are at most this part of `max_in_flight`, in which they count.
pub const TESTS_SHARE: u32 = 8;
/// Allowances that are remembered; beyond it those that are whole are forgotten, and if that is not enough, all.
pub const ALLOWANCES_KNOWN: usize = 50_000;
/// How exactly the last use of a token is known.
pub const TOKEN_USE_NOTED: Duration = Duration::from_secs(10 * 60);
/// Recharges by which it is told how providers do.
pub const PROVIDER_LATEST: usize = 1000;
/// Somebody let in by a link into a vendor's panel stays for this time, unless the link says otherwise.
pub const PANEL_SESSION: Duration = Duration::from_secs(3600);
/// The longest that it may say.
pub const PANEL_SESSION_MAX: Duration = SESSION;
/// A platform with so many vendors no longer needs the first-run checklist.
pub const CHECKLIST_VENDORS: usize = 10;
/// Endpoints on a page of issues.
pub const ISSUES_SHOWN: usize = 25;
/// Latest attempts at an endpoint that failed by which it is told why it fails.
pub const CAUSES_OF: usize = 200;
/// Letters of a question to the documents that are read.
pub const QUESTION_MAX: usize = 500;
/// Different words of a question that are searched for: the rarest ones.
pub const QUESTION_WORDS: usize = 8;
/// Questions that wait to be answered, on all listeners; one is answered at a time.
pub const QUESTIONS_WAITING: usize = 4;
/// Questions from one address: in a second, and at once.
pub const QUESTIONS_PER_SECOND: u32 = 2;
/// Questions that one address may ask at once.
pub const QUESTIONS_AT_ONCE: u32 = 10;
/// Downloads of the program at once, on all listeners.
pub const DOWNLOADS_AT_ONCE: usize = 8;
/// Bytes of the program that a download holds in memory.
pub const DOWNLOAD_PART: usize = 128 << 10;
/// Passages that answer one.
pub const PASSAGES_SHOWN: usize = 5;
/// The live figures are drawn anew this often.
pub const LIVE_EVERY: Duration = Duration::from_secs(2);
/// Minutes that their charts go back.
pub const LIVE_MINUTES: i64 = 60;
