-- A large table takes longer than a request may.
SET LOCAL statement_timeout = 0;

-- Clients prove keys, push requests, exchange tokens and register themselves; devices wait; people are remembered.

-- Names of assertions and of proofs, each of which is good once.
CREATE TABLE one_time_values (
    digest BYTEA PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX one_time_values_expires_at ON one_time_values (expires_at);

-- Authorization requests that clients pushed here and that no browser has brought yet.
CREATE TABLE pushed_requests (
    id_digest BYTEA PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES clients (id),
    parameters TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX pushed_requests_expires_at ON pushed_requests (expires_at);

-- Devices that wait for a person, and what the person said.
CREATE TABLE device_codes (
    handle BYTEA PRIMARY KEY,
    user_code_digest BYTEA NOT NULL UNIQUE,
    client_id TEXT NOT NULL REFERENCES clients (id),
    scope TEXT NOT NULL,
    audiences TEXT NOT NULL,
    confirmation TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    decision TEXT CHECK (decision IN ('allowed', 'denied')),
    session_id BYTEA,
    account_id BYTEA REFERENCES accounts (id),
    credentials_version BIGINT,
    amr TEXT,
    auth_time BIGINT,
    grant_id BYTEA
);
CREATE INDEX device_codes_expires_at ON device_codes (expires_at);

-- The device that a waiting request is about, if it is about one.
ALTER TABLE authorize_requests ADD COLUMN user_code_digest BYTEA;

-- Clients that are to be told that somebody logged out, one notice for a grant.
CREATE TABLE logout_notices (
    grant_id BYTEA PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES clients (id),
    account_id BYTEA NOT NULL,
    attempts SMALLINT NOT NULL,
    due_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX logout_notices_due_at ON logout_notices (due_at);

-- Browsers that remember a log-in: each use moves the series on, and a value from before it is a stolen one.
CREATE TABLE remembered_log_ins (
    id BYTEA PRIMARY KEY,
    secret_digest BYTEA NOT NULL,
    spent_digest BYTEA,
    account_id BYTEA NOT NULL REFERENCES accounts (id),
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
    digest BYTEA PRIMARY KEY,
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX initial_access_tokens_expires_at ON initial_access_tokens (expires_at);

-- What lets a client that registered itself change what it is registered with.
ALTER TABLE clients ADD COLUMN registration_digest BYTEA;
CREATE INDEX clients_registration_digest ON clients (registration_digest) WHERE registration_digest IS NOT NULL;
CREATE INDEX consents_client_id ON consents (client_id);

-- Where a log-in is used, and the memory of a browser that it came from.
ALTER TABLE browser_sessions ADD COLUMN network TEXT;
ALTER TABLE browser_sessions ADD COLUMN user_agent TEXT;
ALTER TABLE browser_sessions ADD COLUMN remembered_id BYTEA;
CREATE INDEX browser_sessions_remembered_id ON browser_sessions (remembered_id) WHERE remembered_id IS NOT NULL;

-- What waits for a log-in without any client: the account's own page.
ALTER TABLE authorize_requests ADD COLUMN page TEXT CHECK (page IN ('account'));

-- What an account is called where clients must not know that two of them know the same person.
CREATE TABLE pairwise_subjects (
    account_id BYTEA NOT NULL REFERENCES accounts (id),
    sector TEXT NOT NULL,
    subject TEXT NOT NULL UNIQUE,
    PRIMARY KEY (account_id, sector)
);

-- The key that what is bought must be used with, and the claims that were asked for by name.
ALTER TABLE authorization_codes ADD COLUMN confirmation TEXT;
ALTER TABLE authorization_codes ADD COLUMN claims TEXT;

-- The same of grants, and their end at the hands of the person.
ALTER TABLE grants DROP CONSTRAINT grants_ended_by_check;
ALTER TABLE grants ADD CONSTRAINT grants_ended_by_check CHECK (ended_by IN
    ('replay', 'revocation', 'operator', 'password_change', 'account_disabled', 'client_disabled',
    'log_out', 'code_replay', 'person'));
ALTER TABLE grants ADD COLUMN confirmation TEXT;
ALTER TABLE grants ADD COLUMN claims TEXT;
ALTER TABLE grants ADD COLUMN subject TEXT;
