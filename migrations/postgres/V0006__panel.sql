-- The panel: who is logged in, one-time links, second factors; and what each hour of a stream brought.

ALTER TABLE "user" ADD COLUMN role BIGINT NOT NULL DEFAULT 0;
-- Sealed: domain::user::SecondFactor.
ALTER TABLE "user" ADD COLUMN second_factor BYTEA;
-- When it was last used, to ten minutes.
ALTER TABLE token ADD COLUMN last_used_at BIGINT;
-- Sealed: a mail that goes out at once and by itself, with a link in it that nobody else may see.
ALTER TABLE alert ADD COLUMN letter BYTEA;
-- Serves: such mails.
CREATE INDEX alert_letter ON alert (id) WHERE letter IS NOT NULL;
-- Serves: what waits to be told about an endpoint.
CREATE INDEX alert_of_endpoint ON alert (endpoint) WHERE endpoint IS NOT NULL;

CREATE TABLE session (
    id         BIGINT PRIMARY KEY,
    hash       BYTEA NOT NULL,
    login      BIGINT,
    vendor     BIGINT,
    role       BIGINT NOT NULL,
    -- The password was right, the second factor has not been seen yet.
    awaits     BIGINT NOT NULL,
    address    TEXT COLLATE "C",
    expires_at BIGINT NOT NULL
);
-- Serves: every page.
CREATE UNIQUE INDEX session_by_hash ON session (hash);
-- Serves: ending all of somebody's.
CREATE INDEX session_of_login ON session (login);

CREATE TABLE link (
    id         BIGINT PRIMARY KEY,
    hash       BYTEA NOT NULL,
    -- domain::session::Purpose: an invitation, a new password, a vendor's panel.
    purpose    BIGINT NOT NULL,
    email      TEXT COLLATE "C",
    login      BIGINT,
    vendor     BIGINT,
    role       BIGINT,
    lifetime   BIGINT,
    expires_at BIGINT NOT NULL
);
-- Serves: who comes with one.
CREATE UNIQUE INDEX link_by_hash ON link (hash);
-- Serves: invitations that have not been taken.
CREATE INDEX link_of_vendor ON link (vendor, id);

-- Recharges that an hour made, and those that came to a status in it less those that left it.
CREATE TABLE tally (
    stream   BIGINT NOT NULL,
    hour     BIGINT NOT NULL,
    made     BIGINT NOT NULL,
    success  BIGINT NOT NULL,
    failed   BIGINT NOT NULL,
    reversed BIGINT NOT NULL,
    PRIMARY KEY (stream, hour)
);
