-- Clients prove keys, push requests, exchange tokens and register themselves; devices wait; people are remembered.

-- Names of assertions and of proofs, each of which is good once.
CREATE TABLE one_time_values (
    digest BLOB PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX one_time_values_expires_at ON one_time_values (expires_at);

-- Authorization requests that clients pushed here and that no browser has brought yet.
CREATE TABLE pushed_requests (
    id_digest BLOB PRIMARY KEY NOT NULL,
    client_id TEXT NOT NULL REFERENCES clients (id),
    parameters TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX pushed_requests_expires_at ON pushed_requests (expires_at);

-- Devices that wait for a person, and what the person said.
CREATE TABLE device_codes (
    handle BLOB PRIMARY KEY NOT NULL,
    user_code_digest BLOB NOT NULL UNIQUE,
    client_id TEXT NOT NULL REFERENCES clients (id),
    scope TEXT NOT NULL,
    audiences TEXT NOT NULL,
    confirmation TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    decision TEXT CHECK (decision IN ('allowed', 'denied')),
    session_id BLOB,
    account_id BLOB REFERENCES accounts (id),
    credentials_version BIGINT,
    amr TEXT,
    auth_time BIGINT,
    grant_id BLOB
);
CREATE INDEX device_codes_expires_at ON device_codes (expires_at);

-- The device that a waiting request is about, if it is about one.
ALTER TABLE authorize_requests ADD COLUMN user_code_digest BLOB;

-- Clients that are to be told that somebody logged out, one notice for a grant.
CREATE TABLE logout_notices (
    grant_id BLOB PRIMARY KEY NOT NULL,
    client_id TEXT NOT NULL REFERENCES clients (id),
    account_id BLOB NOT NULL,
    attempts SMALLINT NOT NULL,
    due_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX logout_notices_due_at ON logout_notices (due_at);

-- Browsers that remember a log-in: each use moves the series on, and a value from before it is a stolen one.
CREATE TABLE remembered_log_ins (
    id BLOB PRIMARY KEY NOT NULL,
    secret_digest BLOB NOT NULL,
    spent_digest BLOB,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    credentials_version BIGINT NOT NULL,
    amr TEXT NOT NULL,
    auth_time BIGINT NOT NULL,
    moved_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    network TEXT NOT NULL,
    user_agent TEXT NOT NULL
);
CREATE INDEX remembered_log_ins_account_id ON remembered_log_ins (account_id);
CREATE INDEX remembered_log_ins_expires_at ON remembered_log_ins (expires_at);

-- What lets somebody register clients.
CREATE TABLE initial_access_tokens (
    digest BLOB PRIMARY KEY NOT NULL,
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX initial_access_tokens_expires_at ON initial_access_tokens (expires_at);

-- What lets a client that registered itself change what it is registered with.
ALTER TABLE clients ADD COLUMN registration_digest BLOB;
CREATE INDEX clients_registration_digest ON clients (registration_digest) WHERE registration_digest IS NOT NULL;
CREATE INDEX consents_client_id ON consents (client_id);

-- Where a log-in is used, and the memory of a browser that it came from.
ALTER TABLE browser_sessions ADD COLUMN network TEXT;
ALTER TABLE browser_sessions ADD COLUMN user_agent TEXT;
ALTER TABLE browser_sessions ADD COLUMN remembered_id BLOB;
CREATE INDEX browser_sessions_remembered_id ON browser_sessions (remembered_id) WHERE remembered_id IS NOT NULL;

-- What waits for a log-in without any client: the account's own page.
ALTER TABLE authorize_requests ADD COLUMN page TEXT CHECK (page IN ('account'));

-- What an account is called where clients must not know that two of them know the same person.
CREATE TABLE pairwise_subjects (
    account_id BLOB NOT NULL REFERENCES accounts (id),
    sector TEXT NOT NULL,
    subject TEXT NOT NULL UNIQUE,
    PRIMARY KEY (account_id, sector)
);

-- The key that what is bought must be used with, and the claims that were asked for by name.
ALTER TABLE authorization_codes ADD COLUMN confirmation TEXT;
ALTER TABLE authorization_codes ADD COLUMN claims TEXT;

-- The same of grants, and their end at the hands of the person.
CREATE TABLE grants_with_keys (
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
        'log_out', 'code_replay', 'person')),
    credentials_version BIGINT NOT NULL DEFAULT 0,
    status_position BIGINT NOT NULL,
    session_id BLOB,
    confirmation TEXT,
    claims TEXT,
    subject TEXT
);
INSERT INTO grants_with_keys
    SELECT id, handle, account_id, client_id, scope, audiences, amr, auth_time, created_at, generation, winner, siblings,
        rotated_at, attempt, idle_expires_at, expires_at, ended_at, ended_by, credentials_version, status_position,
        session_id, NULL, NULL, NULL
    FROM grants;
DROP TABLE grants;
ALTER TABLE grants_with_keys RENAME TO grants;
CREATE INDEX grants_account_id ON grants (account_id);
CREATE INDEX grants_expires_at ON grants (expires_at);
CREATE UNIQUE INDEX grants_status_position ON grants (status_position) WHERE ended_at IS NULL;
CREATE INDEX grants_session_id ON grants (session_id) WHERE session_id IS NOT NULL;
