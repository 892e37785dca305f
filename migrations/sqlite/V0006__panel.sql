-- The panel: who is logged in, one-time links, second factors; and what each hour of a stream brought.

ALTER TABLE user ADD COLUMN role INTEGER NOT NULL DEFAULT 0;
-- Sealed: domain::user::SecondFactor.
ALTER TABLE user ADD COLUMN second_factor BLOB;
-- When it was last used, to ten minutes.
ALTER TABLE token ADD COLUMN last_used_at INTEGER;
-- Sealed: a mail that goes out at once and by itself, with a link in it that nobody else may see.
ALTER TABLE alert ADD COLUMN letter BLOB;
-- Serves: such mails.
CREATE INDEX alert_letter ON alert (id) WHERE letter IS NOT NULL;
-- Serves: what waits to be told about an endpoint.
CREATE INDEX alert_of_endpoint ON alert (endpoint) WHERE endpoint IS NOT NULL;

CREATE TABLE session (
    id         INTEGER PRIMARY KEY,
    hash       BLOB NOT NULL,
    login      INTEGER,
    vendor     INTEGER,
    role       INTEGER NOT NULL,
    -- The password was right, the second factor has not been seen yet.
    awaits     INTEGER NOT NULL,
    address    TEXT,
    expires_at INTEGER NOT NULL
);
-- Serves: every page.
CREATE UNIQUE INDEX session_by_hash ON session (hash);
-- Serves: ending all of somebody's.
CREATE INDEX session_of_login ON session (login);

CREATE TABLE link (
    id         INTEGER PRIMARY KEY,
    hash       BLOB NOT NULL,
    -- domain::session::Purpose: an invitation, a new password, a vendor's panel.
    purpose    INTEGER NOT NULL,
    email      TEXT,
    login      INTEGER,
    vendor     INTEGER,
    role       INTEGER,
    lifetime   INTEGER,
    expires_at INTEGER NOT NULL
);
-- Serves: who comes with one.
CREATE UNIQUE INDEX link_by_hash ON link (hash);
-- Serves: invitations that have not been taken.
CREATE INDEX link_of_vendor ON link (vendor, id);

-- Recharges that an hour made, and those that came to a status in it less those that left it.
CREATE TABLE tally (
    stream   INTEGER NOT NULL,
    hour     INTEGER NOT NULL,
    made     INTEGER NOT NULL,
    success  INTEGER NOT NULL,
    failed   INTEGER NOT NULL,
    reversed INTEGER NOT NULL,
    PRIMARY KEY (stream, hour)
) WITHOUT ROWID;
