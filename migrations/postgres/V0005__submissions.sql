-- Recharges that Ringback has executed itself, and what providers called back.

CREATE TABLE submission (
    recharge BIGINT PRIMARY KEY,
    -- Its number, for vendors of the platform's API, who ask by it.
    transaction_id BIGINT NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    -- What was asked for, as JSON: domain::submission::Order.
    wanted   TEXT COLLATE "C" NOT NULL,
    -- When it was handed to the provider, or may have been.
    sent_at  BIGINT,
    asked    BIGINT NOT NULL DEFAULT 0,
    -- When something is to be done about it.
    next_at  BIGINT,
    stuck_at BIGINT
);
-- Serves: what is to be done for a provider.
CREATE INDEX submission_due ON submission (provider, next_at) WHERE next_at IS NOT NULL;
-- Serves: a recharge by its number.
CREATE INDEX submission_by_number ON submission (transaction_id);
-- Serves: GET /v1/stuck.
CREATE INDEX submission_stuck ON submission (recharge) WHERE stuck_at IS NOT NULL;

CREATE TABLE callback (
    id          BIGINT PRIMARY KEY,
    provider    TEXT COLLATE "C" NOT NULL,
    received_at BIGINT NOT NULL,
    recharge    BIGINT,
    verdict     TEXT COLLATE "C" NOT NULL,
    -- As it came, without the connection number.
    body        TEXT COLLATE "C" NOT NULL
);
