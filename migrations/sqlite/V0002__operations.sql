-- What an operator relies on: health and alerts, pauses, rotation, replays, resolutions, the audit log, kept answers,
-- users, and the figures of the overview.

-- Sums by status, kept by whoever moves a recharge, so that nobody has to count a whole table.
ALTER TABLE stream ADD COLUMN queued INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN success INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN reversed INTEGER NOT NULL DEFAULT 0;
UPDATE stream SET
    queued = (SELECT count(*) FROM recharge r WHERE r.stream = stream.id AND r.status = 0),
    success = (SELECT count(*) FROM recharge r WHERE r.stream = stream.id AND r.status = 1),
    failed = (SELECT count(*) FROM recharge r WHERE r.stream = stream.id AND r.status = 2),
    reversed = (SELECT count(*) FROM recharge r WHERE r.stream = stream.id AND r.status = 3);

-- Secrets that still sign until their overlap ends, sealed: a JSON list.
ALTER TABLE endpoint ADD COLUMN former_secrets BLOB;
-- A pause moves the deadlines of what is open by its length. A row's deadline is stored less the time its endpoint had
-- been paused by then; whoever reads it adds the time paused by now. So a pause costs nothing per delivery.
ALTER TABLE endpoint ADD COLUMN paused_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoint ADD COLUMN paused_at INTEGER;
ALTER TABLE endpoint ADD COLUMN paused_until INTEGER;
-- Disabled by a rule, not by a person: it may come back by itself (setting probe_disabled).
ALTER TABLE endpoint ADD COLUMN by_rule INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoint ADD COLUMN probed_at INTEGER;

-- Endpoints whose last attempt failed: a row from the first failure after a success to the next success.
CREATE TABLE health (
    endpoint      INTEGER PRIMARY KEY,
    failing_since INTEGER NOT NULL,
    exhausted     INTEGER NOT NULL DEFAULT 0,
    warned_at     INTEGER
);

-- What somebody is to be told by mail, until it was.
CREATE TABLE alert (
    id         INTEGER PRIMARY KEY,
    address    TEXT NOT NULL,
    endpoint   INTEGER,
    title      TEXT NOT NULL,
    text       TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
-- Serves: what waits for an address.
CREATE INDEX alert_of_address ON alert (address, id);
-- When an address last had a mail, and how the last try went.
CREATE TABLE mailbox (
    address     TEXT PRIMARY KEY,
    mailed_at   INTEGER,
    tries       INTEGER NOT NULL DEFAULT 0,
    next_try_at INTEGER,
    error       TEXT
) WITHOUT ROWID;

-- A range of events to send again, worked off step by step.
CREATE TABLE replay (
    id            INTEGER PRIMARY KEY,
    stream        INTEGER NOT NULL,
    endpoint      INTEGER NOT NULL,
    since         INTEGER NOT NULL,
    until         INTEGER NOT NULL,
    only_         INTEGER NOT NULL,
    event_types   TEXT,
    next_sequence INTEGER NOT NULL,
    end_sequence  INTEGER NOT NULL,
    matched       INTEGER NOT NULL,
    opened        INTEGER NOT NULL DEFAULT 0,
    done          INTEGER NOT NULL DEFAULT 0,
    state         INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL
);
-- Serves: GET /v1/replays.
CREATE INDEX replay_of_stream ON replay (stream, id);
-- Serves: the engine's next step.
CREATE INDEX replay_running ON replay (id) WHERE state = 0;

ALTER TABLE open_delivery ADD COLUMN replay INTEGER;
DROP INDEX open_delivery_due;
-- Serves: an endpoint's due retries and resends. Runs that have not failed yet are not in it.
CREATE INDEX open_delivery_due ON open_delivery (endpoint, next_attempt_at) WHERE next_attempt_at IS NOT NULL AND replay IS NULL;
-- Serves: an endpoint's due replays, which go out behind everything else.
CREATE INDEX open_delivery_replayed ON open_delivery (endpoint, next_attempt_at) WHERE replay IS NOT NULL;

ALTER TABLE conflict ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conflict ADD COLUMN reason TEXT;
ALTER TABLE conflict ADD COLUMN resolved_by TEXT;
ALTER TABLE conflict ADD COLUMN resolved_at INTEGER;
-- Serves: GET /v1/conflicts?state=open.
CREATE INDEX conflict_open ON conflict (id) WHERE state = 0;

-- Serves: forgetting the keys of events that are removed.
CREATE INDEX dedupe_of_event ON dedupe (stream, sequence);

CREATE TABLE user (
    id            INTEGER PRIMARY KEY,
    email         TEXT NOT NULL,
    vendor        INTEGER,
    password_hash TEXT NOT NULL,
    created_at    INTEGER NOT NULL
);
-- Serves: a login; one user to an address.
CREATE UNIQUE INDEX user_by_email ON user (email);
-- Serves: GET /v1/vendors/{id}/users.
CREATE INDEX user_of_vendor ON user (vendor, id);

-- Who changed what.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    actor   TEXT NOT NULL,
    address TEXT,
    vendor  INTEGER,
    mode    INTEGER,
    action  TEXT NOT NULL,
    object  TEXT NOT NULL,
    details TEXT NOT NULL
);
-- Serves: GET /v1/audit?vendor_id=.
CREATE INDEX audit_of_vendor ON audit (vendor, id);

-- Answers to requests with an Idempotency-Key, sealed, for a day.
CREATE TABLE kept_answer (
    token   INTEGER NOT NULL,
    path    TEXT NOT NULL,
    key     TEXT NOT NULL,
    body    BLOB NOT NULL,
    answer  BLOB NOT NULL,
    kept_at INTEGER NOT NULL,
    PRIMARY KEY (token, path, key)
) WITHOUT ROWID;
-- Serves: forgetting them after a day.
CREATE INDEX kept_answer_age ON kept_answer (kept_at);

-- What happened in a minute, for GET /v1/overview; `latency` has a 4-byte count for each step of the scale in
-- src/domain/traffic.rs.
CREATE TABLE traffic (
    minute    INTEGER PRIMARY KEY,
    accepted  INTEGER NOT NULL,
    attempts  INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    latency   BLOB NOT NULL
);
