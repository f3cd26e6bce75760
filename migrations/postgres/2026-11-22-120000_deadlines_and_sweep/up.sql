-- The sweep finds what is over by this alone; expires_at never changes, so a rotation stays a heap-only update.
CREATE INDEX grants_expires_at ON grants (expires_at);

-- The database's clock in microseconds since the Unix epoch: a statement that was held up knows that it is late.
CREATE FUNCTION database_now() RETURNS BIGINT LANGUAGE SQL VOLATILE
    AS 'SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)';
