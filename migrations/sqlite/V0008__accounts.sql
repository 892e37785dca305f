-- Browsers that have logged in before, and second factors that are proposed.

-- Sealed: the secret of a second factor that is to be enabled in this session.
ALTER TABLE session ADD COLUMN proposed BLOB;

CREATE TABLE device (
    id         INTEGER PRIMARY KEY,
    hash       BLOB NOT NULL,
    login      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
);
-- Serves: a login from one.
CREATE UNIQUE INDEX device_by_hash ON device (hash);
-- Serves: forgetting all of a login's.
CREATE INDEX device_of_login ON device (login);
