-- Many nodes on one database. Nobody waits for another node to count what happened in a minute: each has a row of its own.

ALTER TABLE traffic RENAME TO traffic_before;
-- What happened in a minute on a node, for GET /v1/overview; `latency` has a 4-byte count for each step of the scale in
-- src/domain/traffic.rs.
CREATE TABLE traffic (
    minute    BIGINT NOT NULL,
    node      BIGINT NOT NULL,
    accepted  BIGINT NOT NULL,
    attempts  BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    latency   BYTEA NOT NULL,
    PRIMARY KEY (minute, node)
);
INSERT INTO traffic SELECT minute, 0, accepted, attempts, succeeded, latency FROM traffic_before;
DROP TABLE traffic_before;

-- Nodes that run, or did. A lease ends at `expires_at`, by the clock of the database.
CREATE TABLE node (
    number      BIGINT PRIMARY KEY,
    -- Tells a process from a later one with the same number.
    incarnation BIGINT NOT NULL,
    address     TEXT COLLATE "C" NOT NULL,
    version     TEXT COLLATE "C" NOT NULL,
    started_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL
);

-- Who owns which part of the endpoints. The epoch counts its owners, so that one that has lost it cannot decide anything
-- any more.
CREATE TABLE shard (
    id    BIGINT PRIMARY KEY,
    owner BIGINT,
    epoch BIGINT NOT NULL DEFAULT 0
);
INSERT INTO shard (id) SELECT generate_series(0, 255);
