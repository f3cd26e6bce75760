-- A large table takes longer than a request may.
SET LOCAL statement_timeout = 0;

-- What a browser remembers outlives the log-ins that come from it: a grant knows it by itself.
ALTER TABLE grants ADD COLUMN remembered_id BYTEA;
UPDATE grants SET remembered_id = (SELECT remembered_id FROM browser_sessions WHERE browser_sessions.id = grants.session_id)
    WHERE session_id IN (SELECT id FROM browser_sessions WHERE remembered_id IS NOT NULL);
CREATE INDEX grants_remembered_id ON grants (remembered_id) WHERE remembered_id IS NOT NULL;

-- When something showed that the last answer had come to its browser: until then, who asks again lost it.
ALTER TABLE remembered_log_ins ADD COLUMN kept_at BIGINT;
UPDATE remembered_log_ins SET kept_at = moved_at;
