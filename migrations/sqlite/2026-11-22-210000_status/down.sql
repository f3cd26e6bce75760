CREATE TABLE grants_without_status (
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
    ended_by TEXT CHECK (ended_by IN ('replay', 'revocation', 'operator', 'password_change', 'account_disabled')),
    credentials_version BIGINT NOT NULL DEFAULT 0
);
INSERT INTO grants_without_status
    SELECT id, handle, account_id, client_id, scope, audiences, amr, auth_time, created_at, generation, winner, siblings,
        rotated_at, attempt, idle_expires_at, expires_at, ended_at,
        CASE ended_by WHEN 'client_disabled' THEN 'operator' ELSE ended_by END, credentials_version
    FROM grants;
DROP TABLE grants;
ALTER TABLE grants_without_status RENAME TO grants;
CREATE INDEX grants_account_id ON grants (account_id);
CREATE INDEX grants_expires_at ON grants (expires_at);
DROP INDEX clients_status_position;
ALTER TABLE clients DROP COLUMN status_position;
DROP TABLE outbox;
DROP TABLE status_receipts;
DROP TABLE status_changes;
DROP TABLE status_feed;
DROP TABLE cutoffs;
DROP TABLE status_bits;
DROP TABLE status_leases;
DROP TABLE status_lists;
