-- Integer keys, rows that are appended once, and open deliveries in a small table of their own: the rows decide the
-- speed. Times are milliseconds since 1970 (UTC), durations in `attempt` microseconds. Statuses, states, outcomes and
-- so on are the place of the word in the `ALL` list of its type in src/domain. No foreign keys on hot tables.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE vendor (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    email      TEXT NOT NULL,
    disabled   INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
);

-- The counter row of a vendor and mode. Whoever takes numbers, or changes who listens, holds it to the commit.
CREATE TABLE stream (
    id                INTEGER PRIMARY KEY,
    vendor            INTEGER NOT NULL,
    mode              INTEGER NOT NULL,
    next_sequence     INTEGER NOT NULL DEFAULT 1,
    endpoints_version INTEGER NOT NULL DEFAULT 0,
    last_event_at     INTEGER NOT NULL DEFAULT 0
);
-- Serves: the stream of a report's vendor and mode.
CREATE UNIQUE INDEX stream_of_vendor ON stream (vendor, mode);

CREATE TABLE token (
    id          INTEGER PRIMARY KEY,
    hash        BLOB NOT NULL,
    vendor      INTEGER,
    stream      INTEGER,
    name        TEXT NOT NULL,
    allowed_ips TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
);
-- Serves: every call's token.
CREATE UNIQUE INDEX token_by_hash ON token (hash);
-- Serves: GET /v1/vendors/{id}/tokens.
CREATE INDEX token_of_vendor ON token (vendor, id) WHERE revoked_at IS NULL;

CREATE TABLE recharge (
    id             INTEGER PRIMARY KEY,
    stream         INTEGER NOT NULL,
    reference_no   TEXT NOT NULL,
    transaction_id INTEGER NOT NULL,
    status         INTEGER NOT NULL,
    late           INTEGER NOT NULL DEFAULT 0,
    amount         INTEGER,
    currency       TEXT,
    network        TEXT,
    connection_no  TEXT,
    provider       TEXT,
    provider_ref   TEXT,
    reason         TEXT,
    occurred_at    INTEGER,
    settled_at     INTEGER,
    event          INTEGER,
    reports        INTEGER NOT NULL,
    source         TEXT NOT NULL
);
-- Serves: judging a report; GET /v1/recharges?reference_no=.
CREATE UNIQUE INDEX recharge_by_reference ON recharge (stream, reference_no);
-- Serves: GET /v1/recharges, newest first, and its time ranges (an id begins with its time).
CREATE INDEX recharge_of_stream ON recharge (stream, id);
-- Serves: GET /v1/recharges?status=queued.
CREATE INDEX recharge_queued ON recharge (stream, id) WHERE status = 0;

-- Reports of recharges that have had more than one; a recharge's only report stands in its own row.
CREATE TABLE report (
    recharge     INTEGER NOT NULL,
    number       INTEGER NOT NULL,
    source       TEXT NOT NULL,
    status       INTEGER NOT NULL,
    verdict      INTEGER NOT NULL,
    provider_ref TEXT,
    reason       TEXT,
    occurred_at  INTEGER,
    received_at  INTEGER NOT NULL,
    PRIMARY KEY (recharge, number)
) WITHOUT ROWID;

-- Contradictions: one case per recharge, claimed status and field.
CREATE TABLE conflict (
    id          INTEGER PRIMARY KEY,
    recharge    INTEGER NOT NULL,
    claimed     INTEGER NOT NULL,
    field       TEXT NOT NULL,
    ours        TEXT NOT NULL,
    theirs      TEXT NOT NULL,
    source      TEXT NOT NULL,
    received_at INTEGER NOT NULL
);
-- Serves: opening a case at most once.
CREATE UNIQUE INDEX conflict_case ON conflict (recharge, claimed, field);

CREATE TABLE event (
    stream     INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    type       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    facts      TEXT NOT NULL,
    PRIMARY KEY (stream, sequence)
) WITHOUT ROWID;

-- Keys by which the platform's own events are posted once.
CREATE TABLE dedupe (
    stream     INTEGER NOT NULL,
    key        TEXT NOT NULL,
    sequence   INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    PRIMARY KEY (stream, key)
) WITHOUT ROWID;

CREATE TABLE endpoint (
    id            INTEGER PRIMARY KEY,
    stream        INTEGER NOT NULL,
    url           TEXT NOT NULL,
    description   TEXT,
    event_types   TEXT NOT NULL,
    profile       INTEGER NOT NULL,
    cipher_text   INTEGER NOT NULL,
    alert_email   TEXT,
    headers       BLOB NOT NULL,
    rate_limit    INTEGER,
    max_in_flight INTEGER,
    ordering      INTEGER NOT NULL,
    strict_hold   INTEGER,
    secret        BLOB NOT NULL,
    signing_key   BLOB,
    status        INTEGER NOT NULL,
    status_reason TEXT,
    created_at    INTEGER NOT NULL,
    connected_at  INTEGER,
    deleted_at    INTEGER
);
-- Serves: who listens to a stream; GET /v1/endpoints.
CREATE INDEX endpoint_of_stream ON endpoint (stream, id);

-- From which number to which an endpoint was listening, and to what; the end is open while it is.
CREATE TABLE listening (
    endpoint       INTEGER NOT NULL,
    from_sequence  INTEGER NOT NULL,
    until_sequence INTEGER,
    event_types    TEXT NOT NULL,
    profile        INTEGER NOT NULL,
    PRIMARY KEY (endpoint, from_sequence)
) WITHOUT ROWID;

-- Runs that have not ended: inserted when their event is accepted, deleted at their end.
CREATE TABLE open_delivery (
    endpoint        INTEGER NOT NULL,
    sequence        INTEGER NOT NULL,
    run             INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    deadline        INTEGER NOT NULL,
    next_attempt_at INTEGER,
    failed_since    INTEGER,
    PRIMARY KEY (endpoint, sequence, run)
) WITHOUT ROWID;
-- Serves: an endpoint's due retries and resends. Runs that have not failed yet are not in it.
CREATE INDEX open_delivery_due ON open_delivery (endpoint, next_attempt_at) WHERE next_attempt_at IS NOT NULL;

-- Ended runs, appended once, with the attempt that ended them (if any).
CREATE TABLE ended_delivery (
    endpoint       INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,
    run            INTEGER NOT NULL,
    state          INTEGER NOT NULL,
    end_reason     INTEGER,
    attempts       INTEGER NOT NULL,
    deadline       INTEGER NOT NULL,
    ended_at       INTEGER NOT NULL,
    started_at     INTEGER,
    outcome        INTEGER,
    status         INTEGER,
    error          TEXT,
    resolve_us     INTEGER,
    connect_us     INTEGER,
    tls_us         INTEGER,
    first_byte_us  INTEGER,
    total_us       INTEGER,
    answer_headers TEXT,
    answer_body    BLOB,
    PRIMARY KEY (endpoint, sequence, run)
) WITHOUT ROWID;
-- Serves: GET /v1/deliveries?endpoint_id=&state=exhausted|cancelled.
CREATE INDEX ended_delivery_unlucky ON ended_delivery (endpoint, state, sequence) WHERE state <> 1;

-- Attempts that did not end their run.
CREATE TABLE attempt (
    endpoint       INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,
    run            INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    outcome        INTEGER NOT NULL,
    status         INTEGER,
    error          TEXT,
    resolve_us     INTEGER,
    connect_us     INTEGER,
    tls_us         INTEGER,
    first_byte_us  INTEGER,
    total_us       INTEGER NOT NULL,
    answer_headers TEXT,
    answer_body    BLOB,
    PRIMARY KEY (endpoint, sequence, run, number)
) WITHOUT ROWID;
