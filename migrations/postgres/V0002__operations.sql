-- The twin of migrations/sqlite: what an operator relies on: health and alerts, pauses, rotation, replays, resolutions, the audit log, kept answers,
-- users, and the figures of the overview.

-- Sums by status, kept by whoever moves a recharge, so that nobody has to count a whole table.
ALTER TABLE stream ADD COLUMN queued BIGINT NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN success BIGINT NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN failed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN reversed BIGINT NOT NULL DEFAULT 0;

-- Secrets that still sign until their overlap ends, sealed: a JSON list.
ALTER TABLE endpoint ADD COLUMN former_secrets BYTEA;
-- A pause moves the deadlines of what is open by its length. A row's deadline is stored less the time its endpoint had
-- been paused by then; whoever reads it adds the time paused by now. So a pause costs nothing per delivery.
ALTER TABLE endpoint ADD COLUMN paused_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE endpoint ADD COLUMN paused_at BIGINT;
ALTER TABLE endpoint ADD COLUMN paused_until BIGINT;
-- Disabled by a rule, not by a person: it may come back by itself (setting probe_disabled).
ALTER TABLE endpoint ADD COLUMN by_rule BIGINT NOT NULL DEFAULT 0;
ALTER TABLE endpoint ADD COLUMN probed_at BIGINT;

-- Endpoints whose last attempt failed: a row from the first failure after a success to the next success.
CREATE TABLE health (
    endpoint      BIGINT PRIMARY KEY,
    failing_since BIGINT NOT NULL,
    exhausted     BIGINT NOT NULL DEFAULT 0,
    warned_at     BIGINT
);

-- What somebody is to be told by mail, until it was.
CREATE TABLE alert (
    id         BIGINT PRIMARY KEY,
    address    TEXT COLLATE "C" NOT NULL,
    endpoint   BIGINT,
    title      TEXT COLLATE "C" NOT NULL,
    text       TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
-- Serves: what waits for an address.
CREATE INDEX alert_of_address ON alert (address, id);
-- When an address last had a mail, and how the last try went.
CREATE TABLE mailbox (
    address     TEXT COLLATE "C" PRIMARY KEY,
    mailed_at   BIGINT,
    tries       BIGINT NOT NULL DEFAULT 0,
    next_try_at BIGINT,
    error       TEXT COLLATE "C"
);

-- A range of events to send again, worked off step by step.
CREATE TABLE replay (
    id            BIGINT PRIMARY KEY,
    stream        BIGINT NOT NULL,
    endpoint      BIGINT NOT NULL,
    since         BIGINT NOT NULL,
    until         BIGINT NOT NULL,
    only_         BIGINT NOT NULL,
    event_types   TEXT COLLATE "C",
    next_sequence BIGINT NOT NULL,
    end_sequence  BIGINT NOT NULL,
    matched       BIGINT NOT NULL,
    opened        BIGINT NOT NULL DEFAULT 0,
    done          BIGINT NOT NULL DEFAULT 0,
    state         BIGINT NOT NULL DEFAULT 0,
    created_at    BIGINT NOT NULL
);
-- Serves: GET /v1/replays.
CREATE INDEX replay_of_stream ON replay (stream, id);
-- Serves: the engine's next step.
CREATE INDEX replay_running ON replay (id) WHERE state = 0;

ALTER TABLE open_delivery ADD COLUMN replay BIGINT;
DROP INDEX open_delivery_due;
-- Serves: an endpoint's due retries and resends. Runs that have not failed yet are not in it.
CREATE INDEX open_delivery_due ON open_delivery (endpoint, next_attempt_at) WHERE next_attempt_at IS NOT NULL AND replay IS NULL;
-- Serves: an endpoint's due replays, which go out behind everything else.
CREATE INDEX open_delivery_replayed ON open_delivery (endpoint, next_attempt_at) WHERE replay IS NOT NULL;

ALTER TABLE conflict ADD COLUMN state BIGINT NOT NULL DEFAULT 0;
ALTER TABLE conflict ADD COLUMN reason TEXT COLLATE "C";
ALTER TABLE conflict ADD COLUMN resolved_by TEXT COLLATE "C";
ALTER TABLE conflict ADD COLUMN resolved_at BIGINT;
-- Serves: GET /v1/conflicts?state=open.
CREATE INDEX conflict_open ON conflict (id) WHERE state = 0;

-- Serves: forgetting the keys of events that are removed.
CREATE INDEX dedupe_of_event ON dedupe (stream, sequence);

CREATE TABLE "user" (
    id            BIGINT PRIMARY KEY,
    email         TEXT COLLATE "C" NOT NULL,
    vendor        BIGINT,
    password_hash TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL
);
-- Serves: a login; one user to an address.
CREATE UNIQUE INDEX user_by_email ON "user" (email);
-- Serves: GET /v1/vendors/{id}/users.
CREATE INDEX user_of_vendor ON "user" (vendor, id);

-- Who changed what.
CREATE TABLE audit (
    id      BIGINT PRIMARY KEY,
    actor   TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C",
    vendor  BIGINT,
    mode    BIGINT,
    action  TEXT COLLATE "C" NOT NULL,
    object  TEXT COLLATE "C" NOT NULL,
    details TEXT COLLATE "C" NOT NULL
);
-- Serves: GET /v1/audit?vendor_id=.
CREATE INDEX audit_of_vendor ON audit (vendor, id);

-- Answers to requests with an Idempotency-Key, sealed, for a day.
CREATE TABLE kept_answer (
    token   BIGINT NOT NULL,
    path    TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,
    body    BYTEA NOT NULL,
    answer  BYTEA NOT NULL,
    kept_at BIGINT NOT NULL,
    PRIMARY KEY (token, path, key)
);
-- Serves: forgetting them after a day.
CREATE INDEX kept_answer_age ON kept_answer (kept_at);

-- What happened in a minute, for GET /v1/overview; `latency` has a 4-byte count for each step of the scale in
-- src/domain/traffic.rs.
CREATE TABLE traffic (
    minute    BIGINT PRIMARY KEY,
    accepted  BIGINT NOT NULL,
    attempts  BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    latency   BYTEA NOT NULL
);
