-- The twin of migrations/sqlite: the same tables, and the same meaning of each column. Integer keys, rows that are appended
-- once, and open deliveries in a small table of their own: the rows decide the speed. Texts sort by their bytes, as in SQLite. Times are milliseconds since 1970 (UTC), durations in `attempt` microseconds. Statuses, states, outcomes and
-- so on are the place of the word in the `ALL` list of its type in src/domain. No foreign keys on hot tables.

CREATE TABLE meta (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

-- transaction_id of the next recharge. Numbers of a transaction that did not come to pass are left out.
CREATE SEQUENCE transaction_id START 100001;

CREATE TABLE vendor (
    id         BIGINT PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL,
    email      TEXT COLLATE "C" NOT NULL,
    disabled   BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL
);

-- The counter row of a vendor and mode. Whoever takes numbers, or changes who listens, holds it to the commit.
CREATE TABLE stream (
    id                BIGINT PRIMARY KEY,
    vendor            BIGINT NOT NULL,
    mode              BIGINT NOT NULL,
    next_sequence     BIGINT NOT NULL DEFAULT 1,
    endpoints_version BIGINT NOT NULL DEFAULT 0,
    last_event_at     BIGINT NOT NULL DEFAULT 0
);
-- Serves: the stream of a report's vendor and mode.
CREATE UNIQUE INDEX stream_of_vendor ON stream (vendor, mode);

CREATE TABLE token (
    id          BIGINT PRIMARY KEY,
    hash        BYTEA NOT NULL,
    vendor      BIGINT,
    stream      BIGINT,
    name        TEXT COLLATE "C" NOT NULL,
    allowed_ips TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    revoked_at  BIGINT
);
-- Serves: every call's token.
CREATE UNIQUE INDEX token_by_hash ON token (hash);
-- Serves: GET /v1/vendors/{id}/tokens.
CREATE INDEX token_of_vendor ON token (vendor, id) WHERE revoked_at IS NULL;

CREATE TABLE recharge (
    id             BIGINT PRIMARY KEY,
    stream         BIGINT NOT NULL,
    reference_no   TEXT COLLATE "C" NOT NULL,
    transaction_id BIGINT NOT NULL,
    status         BIGINT NOT NULL,
    late           BIGINT NOT NULL DEFAULT 0,
    amount         BIGINT,
    currency       TEXT COLLATE "C",
    network        TEXT COLLATE "C",
    connection_no  TEXT COLLATE "C",
    provider       TEXT COLLATE "C",
    provider_ref   TEXT COLLATE "C",
    reason         TEXT COLLATE "C",
    occurred_at    BIGINT,
    settled_at     BIGINT,
    event          BIGINT,
    reports        BIGINT NOT NULL,
    source         TEXT COLLATE "C" NOT NULL
);
-- Serves: GET /v1/recharges, newest first, and its time ranges (an id begins with its time).
CREATE INDEX recharge_of_stream ON recharge (stream, id);
-- Serves: GET /v1/recharges?status=queued.
CREATE INDEX recharge_queued ON recharge (stream, id) WHERE status = 0;
-- Serves: judging a report; GET /v1/recharges?reference_no=. The last of this table's indexes: as long as nothing is known of a
-- table that was just made, the planner takes the latest of those that seem equal, and this one is needed the most.
CREATE UNIQUE INDEX recharge_by_reference ON recharge (stream, reference_no);

-- Reports of recharges that have had more than one; a recharge's only report stands in its own row.
CREATE TABLE report (
    recharge     BIGINT NOT NULL,
    number       BIGINT NOT NULL,
    source       TEXT COLLATE "C" NOT NULL,
    status       BIGINT NOT NULL,
    verdict      BIGINT NOT NULL,
    provider_ref TEXT COLLATE "C",
    reason       TEXT COLLATE "C",
    occurred_at  BIGINT,
    received_at  BIGINT NOT NULL,
    PRIMARY KEY (recharge, number)
);

-- Contradictions: one case per recharge, claimed status and field.
CREATE TABLE conflict (
    id          BIGINT PRIMARY KEY,
    recharge    BIGINT NOT NULL,
    claimed     BIGINT NOT NULL,
    field       TEXT COLLATE "C" NOT NULL,
    ours        TEXT COLLATE "C" NOT NULL,
    theirs      TEXT COLLATE "C" NOT NULL,
    source      TEXT COLLATE "C" NOT NULL,
    received_at BIGINT NOT NULL
);
-- Serves: opening a case at most once.
CREATE UNIQUE INDEX conflict_case ON conflict (recharge, claimed, field);

CREATE TABLE event (
    stream     BIGINT NOT NULL,
    sequence   BIGINT NOT NULL,
    type       TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    facts      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (stream, sequence)
);

-- Keys by which the platform's own events are posted once.
CREATE TABLE dedupe (
    stream     BIGINT NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    sequence   BIGINT NOT NULL,
    deliveries BIGINT NOT NULL,
    PRIMARY KEY (stream, key)
);

CREATE TABLE endpoint (
    id            BIGINT PRIMARY KEY,
    stream        BIGINT NOT NULL,
    url           TEXT COLLATE "C" NOT NULL,
    description   TEXT COLLATE "C",
    event_types   TEXT COLLATE "C" NOT NULL,
    profile       BIGINT NOT NULL,
    cipher_text   BIGINT NOT NULL,
    alert_email   TEXT COLLATE "C",
    headers       BYTEA NOT NULL,
    rate_limit    BIGINT,
    max_in_flight BIGINT,
    ordering      BIGINT NOT NULL,
    strict_hold   BIGINT,
    secret        BYTEA NOT NULL,
    signing_key   BYTEA,
    status        BIGINT NOT NULL,
    status_reason TEXT COLLATE "C",
    created_at    BIGINT NOT NULL,
    connected_at  BIGINT,
    deleted_at    BIGINT
);
-- Serves: who listens to a stream; GET /v1/endpoints.
CREATE INDEX endpoint_of_stream ON endpoint (stream, id);

-- From which number to which an endpoint was listening, and to what; the end is open while it is.
CREATE TABLE listening (
    endpoint       BIGINT NOT NULL,
    from_sequence  BIGINT NOT NULL,
    until_sequence BIGINT,
    event_types    TEXT COLLATE "C" NOT NULL,
    profile        BIGINT NOT NULL,
    PRIMARY KEY (endpoint, from_sequence)
);

-- Runs that have not ended: inserted when their event is accepted, deleted at their end.
CREATE TABLE open_delivery (
    endpoint        BIGINT NOT NULL,
    sequence        BIGINT NOT NULL,
    run             BIGINT NOT NULL,
    attempts        BIGINT NOT NULL DEFAULT 0,
    deadline        BIGINT NOT NULL,
    next_attempt_at BIGINT,
    failed_since    BIGINT,
    PRIMARY KEY (endpoint, sequence, run)
);
-- Serves: an endpoint's due retries and resends. Runs that have not failed yet are not in it.
CREATE INDEX open_delivery_due ON open_delivery (endpoint, next_attempt_at) WHERE next_attempt_at IS NOT NULL;

-- Ended runs, appended once, with the attempt that ended them (if any).
CREATE TABLE ended_delivery (
    endpoint       BIGINT NOT NULL,
    sequence       BIGINT NOT NULL,
    run            BIGINT NOT NULL,
    state          BIGINT NOT NULL,
    end_reason     BIGINT,
    attempts       BIGINT NOT NULL,
    deadline       BIGINT NOT NULL,
    ended_at       BIGINT NOT NULL,
    started_at     BIGINT,
    outcome        BIGINT,
    status         BIGINT,
    error          TEXT COLLATE "C",
    resolve_us     BIGINT,
    connect_us     BIGINT,
    tls_us         BIGINT,
    first_byte_us  BIGINT,
    total_us       BIGINT,
    answer_headers TEXT COLLATE "C",
    answer_body    BYTEA,
    PRIMARY KEY (endpoint, sequence, run)
);
-- Serves: GET /v1/deliveries?endpoint_id=&state=exhausted|cancelled.
CREATE INDEX ended_delivery_unlucky ON ended_delivery (endpoint, state, sequence) WHERE state <> 1;

-- Attempts that did not end their run.
CREATE TABLE attempt (
    endpoint       BIGINT NOT NULL,
    sequence       BIGINT NOT NULL,
    run            BIGINT NOT NULL,
    number         BIGINT NOT NULL,
    started_at     BIGINT NOT NULL,
    outcome        BIGINT NOT NULL,
    status         BIGINT,
    error          TEXT COLLATE "C",
    resolve_us     BIGINT,
    connect_us     BIGINT,
    tls_us         BIGINT,
    first_byte_us  BIGINT,
    total_us       BIGINT NOT NULL,
    answer_headers TEXT COLLATE "C",
    answer_body    BYTEA,
    PRIMARY KEY (endpoint, sequence, run, number)
);

-- Rows of open_delivery live for milliseconds, and a counter row is written with every batch: without haste their dead
-- versions would outgrow the live ones.
ALTER TABLE open_delivery SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0);
ALTER TABLE stream SET (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
