DROP INDEX grants_expires_at;
