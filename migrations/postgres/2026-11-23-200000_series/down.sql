ALTER TABLE remembered_log_ins DROP COLUMN kept_at;
DROP INDEX grants_remembered_id;
ALTER TABLE grants DROP COLUMN remembered_id;
