-- People log in at a browser, and applications get codes.

-- An account that is logged in at a browser. Only the digest of what the browser's cookie says is kept.
CREATE TABLE browser_sessions (
    id BLOB PRIMARY KEY NOT NULL,
    token_digest BLOB NOT NULL UNIQUE,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    credentials_version BIGINT NOT NULL,
    amr TEXT NOT NULL,
    auth_time BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX browser_sessions_account_id ON browser_sessions (account_id);
CREATE INDEX browser_sessions_expires_at ON browser_sessions (expires_at);

-- Authorization requests that wait for a person, each bound to the browser that brought it.
CREATE TABLE authorize_requests (
    id_digest BLOB PRIMARY KEY NOT NULL,
    browser_digest BLOB NOT NULL,
    parameters TEXT NOT NULL,
    session_id BLOB,
    expires_at BIGINT NOT NULL
);
CREATE INDEX authorize_requests_expires_at ON authorize_requests (expires_at);

-- What an account has allowed a client.
CREATE TABLE consents (
    account_id BLOB NOT NULL REFERENCES accounts (id),
    client_id TEXT NOT NULL REFERENCES clients (id),
    scope TEXT NOT NULL,
    given_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, client_id)
);

-- Authorization codes. One that was used is kept, so that its second use is known for what it is.
CREATE TABLE authorization_codes (
    handle BLOB PRIMARY KEY NOT NULL,
    session_id BLOB NOT NULL,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    credentials_version BIGINT NOT NULL,
    client_id TEXT NOT NULL REFERENCES clients (id),
    redirect_uri TEXT NOT NULL,
    challenge BLOB,
    nonce TEXT,
    scope TEXT NOT NULL,
    audiences TEXT NOT NULL,
    amr TEXT NOT NULL,
    auth_time BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    failures SMALLINT NOT NULL,
    grant_id BLOB
);
CREATE INDEX authorization_codes_expires_at ON authorization_codes (expires_at);
CREATE INDEX authorization_codes_session_id ON authorization_codes (session_id);

-- The log-in that a grant came from, if it came from one at a browser.
CREATE TABLE grants_of_sessions (
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
INSERT INTO grants_of_sessions
    SELECT id, handle, account_id, client_id, scope, audiences, amr, auth_time, created_at, generation, winner, siblings,
        rotated_at, attempt, idle_expires_at, expires_at, ended_at, ended_by, credentials_version, status_position,
        NULL
    FROM grants;
DROP TABLE grants;
ALTER TABLE grants_of_sessions RENAME TO grants;
CREATE INDEX grants_account_id ON grants (account_id);
CREATE INDEX grants_expires_at ON grants (expires_at);
CREATE UNIQUE INDEX grants_status_position ON grants (status_position) WHERE ended_at IS NULL;
CREATE INDEX grants_session_id ON grants (session_id) WHERE session_id IS NOT NULL;

-- What an account says of itself, as OpenID Connect names it.
ALTER TABLE accounts ADD COLUMN claims TEXT NOT NULL DEFAULT '{}';
