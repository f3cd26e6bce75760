CREATE TABLE grants_without_keys (
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
    ended_by TEXT CHECK (ended_by IN ('replay', 'revocation', 'operator', 'password_change', 'account_disabled', 'client_disabled',
        'log_out', 'code_replay')),
    credentials_version BIGINT NOT NULL DEFAULT 0,
    status_position BIGINT NOT NULL,
    session_id BLOB
);
INSERT INTO grants_without_keys
    SELECT id, handle, account_id, client_id, scope, audiences, amr, auth_time, created_at, generation, winner, siblings,
        rotated_at, attempt, idle_expires_at, expires_at, ended_at, CASE ended_by WHEN 'person' THEN 'operator' ELSE ended_by END, credentials_version, status_position,
        session_id
    FROM grants;
DROP TABLE grants;
ALTER TABLE grants_without_keys RENAME TO grants;
CREATE INDEX grants_account_id ON grants (account_id);
CREATE INDEX grants_expires_at ON grants (expires_at);
CREATE UNIQUE INDEX grants_status_position ON grants (status_position) WHERE ended_at IS NULL;
CREATE INDEX grants_session_id ON grants (session_id) WHERE session_id IS NOT NULL;
ALTER TABLE authorization_codes DROP COLUMN claims;
ALTER TABLE authorization_codes DROP COLUMN confirmation;
DELETE FROM authorize_requests WHERE page IS NOT NULL;
ALTER TABLE authorize_requests DROP COLUMN page;
DROP INDEX browser_sessions_remembered_id;
ALTER TABLE browser_sessions DROP COLUMN remembered_id;
ALTER TABLE browser_sessions DROP COLUMN user_agent;
ALTER TABLE browser_sessions DROP COLUMN network;
DROP INDEX consents_client_id;
DROP INDEX clients_registration_digest;
ALTER TABLE clients DROP COLUMN registration_digest;
DROP TABLE initial_access_tokens;
DROP TABLE remembered_log_ins;
DROP TABLE logout_notices;
ALTER TABLE authorize_requests DROP COLUMN user_code_digest;
DROP TABLE device_codes;
DROP TABLE pushed_requests;
DROP TABLE pairwise_subjects;
DROP TABLE one_time_values;
