-- Every grant, and every client for itself, has a number in a status list, by which verifiers elsewhere learn that it is over.

-- A list has 2^20 positions; which bit of the list a position is, only the permutation tells.
CREATE TABLE status_lists (
    list INTEGER PRIMARY KEY NOT NULL,
    permutation BLOB NOT NULL
);
INSERT INTO status_lists (list, permutation) VALUES (0, randomblob(16)), (1, randomblob(16));

-- Blocks of positions that an instance hands out.
CREATE TABLE status_leases (
    block BIGINT PRIMARY KEY NOT NULL,
    holder BLOB NOT NULL,
    leased_at BIGINT NOT NULL
);

-- Positions that are over: their bits are set until cleared_at, and after that they rest.
CREATE TABLE status_bits (
    position BIGINT PRIMARY KEY NOT NULL,
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
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL DEFAULT 0,
    at_before BIGINT NOT NULL DEFAULT 0,
    hash_key BLOB NOT NULL
);
INSERT INTO status_feed (id, seq, hash_key) VALUES (1, 0, randomblob(16));
CREATE TABLE status_changes (
    seq BIGINT PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    at_before BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX status_changes_at ON status_changes (at);

-- How far verifiers have come, as they say themselves.
CREATE TABLE status_receipts (
    verifier BLOB PRIMARY KEY NOT NULL,
    client_id TEXT NOT NULL,
    name TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at BIGINT NOT NULL
);

-- What was begun and is still to be done to many rows, in steps.
CREATE TABLE outbox (
    id BLOB PRIMARY KEY NOT NULL,
    task TEXT NOT NULL CHECK (task IN ('end_grants_of_account', 'end_grants_of_client')),
    subject TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    done_to BLOB NOT NULL
);

ALTER TABLE clients ADD COLUMN status_position BIGINT NOT NULL DEFAULT -1;
UPDATE clients SET status_position = numbered.position
    FROM (SELECT id, ROW_NUMBER() OVER (ORDER BY id) - 1 AS position FROM clients) AS numbered WHERE numbered.id = clients.id;
CREATE UNIQUE INDEX clients_status_position ON clients (status_position);

CREATE TABLE grants_with_status (
    id BLOB PRIMARY KEY NOT NULL,
    handle BLOB NOT NULL UNIQUE,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    client_id TEXT NOT NULL REFERENCES clients (id),
    scope TEXT NOT NULL,
    audiences TEXT NOT NULL,
    amr TEXT NOT NULL,
    auth_time BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    generation INTEGER NOT NULL,
    winner SMALLINT NOT NULL,
    siblings SMALLINT NOT NULL CHECK (siblings BETWEEN 1 AND 16),
    rotated_at BIGINT NOT NULL,
    attempt BLOB,
    idle_expires_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    ended_by TEXT CHECK (ended_by IN
        ('replay', 'revocation', 'operator', 'password_change', 'account_disabled', 'client_disabled')),
    credentials_version BIGINT NOT NULL DEFAULT 0,
    status_position BIGINT NOT NULL
);
INSERT INTO grants_with_status
    SELECT id, handle, account_id, client_id, scope, audiences, amr, auth_time, created_at, generation, winner, siblings,
        rotated_at, attempt, idle_expires_at, expires_at, ended_at, ended_by, credentials_version,
        (SELECT COUNT(*) FROM clients) + ROW_NUMBER() OVER (ORDER BY id) - 1
    FROM grants;
DROP TABLE grants;
ALTER TABLE grants_with_status RENAME TO grants;
CREATE INDEX grants_account_id ON grants (account_id);
CREATE INDEX grants_expires_at ON grants (expires_at);
-- Two grants in force never share a position: the end of one would be the end of the other.
CREATE UNIQUE INDEX grants_status_position ON grants (status_position) WHERE ended_at IS NULL;
