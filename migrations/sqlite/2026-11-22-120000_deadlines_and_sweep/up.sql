-- The sweep finds what is over by this alone; expires_at never changes.
CREATE INDEX grants_expires_at ON grants (expires_at);
