-- A large table takes longer than a request may.
SET LOCAL statement_timeout = 0;

-- Every grant, and every client for itself, has a number in a status list, by which verifiers elsewhere learn that it is over.

-- A list has 2^20 positions; which bit of the list a position is, only the permutation tells.
CREATE TABLE status_lists (
    list INTEGER PRIMARY KEY,
    permutation BYTEA NOT NULL
);
INSERT INTO status_lists (list, permutation) VALUES 
    (0, decode(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 'hex')),
    (1, decode(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 'hex'));

-- Blocks of positions that an instance hands out.
CREATE TABLE status_leases (
    block BIGINT PRIMARY KEY,
    holder BYTEA NOT NULL,
    leased_at BIGINT NOT NULL
);

-- Positions that are over: their bits are set until cleared_at, and after that they rest.
CREATE TABLE status_bits (
    position BIGINT PRIMARY KEY,
    ended_at BIGINT NOT NULL,
    cleared_at BIGINT
);
CREATE INDEX status_bits_ended_at ON status_bits (ended_at);

-- What is over though it has no bit, or more than one: everything of a client, of a key, one token.
CREATE TABLE cutoffs (
    kind TEXT NOT NULL CHECK (kind IN ('sub', 'client_id', 'sid', 'jti', 'kid')),
    value TEXT NOT NULL,
    not_before BIGINT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY (kind, value)
);
-- Keys that somebody else may have are nobody's for ever.
INSERT INTO cutoffs (kind, value, not_before, until)
    SELECT 'kid', kid, COALESCE(ended_at, 0) / 1000000, 0 FROM signing_keys WHERE state = 'compromised';

-- The changes of both, in the order in which they were committed: whoever takes a number holds this row until then.
CREATE TABLE status_feed (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL DEFAULT 0,
    at_before BIGINT NOT NULL DEFAULT 0,
    hash_key BYTEA NOT NULL
);
INSERT INTO status_feed (id, seq, hash_key) 
    VALUES (1, 0, decode(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 'hex'));
CREATE TABLE status_changes (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    at_before BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX status_changes_at ON status_changes (at);

-- How far verifiers have come, as they say themselves.
CREATE TABLE status_receipts (
    verifier BYTEA PRIMARY KEY,
    client_id TEXT NOT NULL,
    name TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL
);

-- What was begun and is still to be done to many rows, in steps.
CREATE TABLE outbox (
    id BYTEA PRIMARY KEY,
    task TEXT NOT NULL CHECK (task IN ('end_grants_of_account', 'end_grants_of_client')),
    subject TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    done_to BYTEA NOT NULL
);

ALTER TABLE clients ADD COLUMN status_position BIGINT NOT NULL DEFAULT -1;
UPDATE clients SET status_position = numbered.position
    FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) - 1 AS position FROM clients) AS numbered WHERE numbered.id = clients.id;
CREATE UNIQUE INDEX clients_status_position ON clients (status_position);

ALTER TABLE grants DROP CONSTRAINT grants_ended_by_check;
ALTER TABLE grants ADD CONSTRAINT grants_ended_by_check CHECK (ended_by IN
    ('replay', 'revocation', 'operator', 'password_change', 'account_disabled', 'client_disabled'));
ALTER TABLE grants ADD COLUMN status_position BIGINT;
UPDATE grants SET status_position = (SELECT COUNT(*) FROM clients) + numbered.position
    FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) - 1 AS position FROM grants) AS numbered WHERE numbered.id = grants.id;
ALTER TABLE grants ALTER COLUMN status_position SET NOT NULL;
-- Two grants in force never share a position: the end of one would be the end of the other.
CREATE UNIQUE INDEX grants_status_position ON grants (status_position) WHERE ended_at IS NULL;
