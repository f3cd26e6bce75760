-- The sweep finds what is over by this alone; expires_at never changes.
CREATE INDEX grants_expires_at ON grants (expires_at);

-- Moves on whenever whoever logged in before must be out; a grant whose number is not its account's is over, even one
-- that was being made at that moment.
ALTER TABLE accounts ADD COLUMN credentials_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN credentials_version BIGINT NOT NULL DEFAULT 0;
