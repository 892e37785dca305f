-- The twin of migrations/postgres, where many nodes share a database. A file has one node, number 0, so that only what the
-- overview sums is told apart by node here.

ALTER TABLE traffic RENAME TO traffic_before;
-- What happened in a minute on a node, for GET /v1/overview; `latency` has a 4-byte count for each step of the scale in
-- src/domain/traffic.rs.
CREATE TABLE traffic (
    minute    INTEGER NOT NULL,
    node      INTEGER NOT NULL,
    accepted  INTEGER NOT NULL,
    attempts  INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    latency   BLOB NOT NULL,
    PRIMARY KEY (minute, node)
) WITHOUT ROWID;
INSERT INTO traffic SELECT minute, 0, accepted, attempts, succeeded, latency FROM traffic_before;
DROP TABLE traffic_before;
