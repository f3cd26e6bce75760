DROP FUNCTION database_now();
DROP INDEX grants_expires_at;
