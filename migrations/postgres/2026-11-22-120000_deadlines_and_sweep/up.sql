-- A large table takes longer than a request may.
SET LOCAL statement_timeout = 0;

-- The sweep finds what is over by this alone; expires_at never changes, so a rotation stays a heap-only update.
CREATE INDEX grants_expires_at ON grants (expires_at);

-- The database's clock in microseconds since the Unix epoch: a statement that was held up knows that it is late.
CREATE FUNCTION database_now() RETURNS BIGINT LANGUAGE SQL VOLATILE
    AS 'SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)';

-- Moves on whenever whoever logged in before must be out; a grant whose number is not its account's is over, even one
-- that was being made at that moment.
ALTER TABLE accounts ADD COLUMN credentials_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN credentials_version BIGINT NOT NULL DEFAULT 0;
