ALTER TABLE grants DROP COLUMN credentials_version;
ALTER TABLE accounts DROP COLUMN credentials_version;
DROP INDEX grants_expires_at;
