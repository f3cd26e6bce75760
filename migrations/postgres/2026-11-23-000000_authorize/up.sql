-- A large table takes longer than a request may.
SET LOCAL statement_timeout = 0;

-- People log in at a browser, and applications get codes.

-- An account that is logged in at a browser. Only the digest of what the browser's cookie says is kept.
CREATE TABLE browser_sessions (
    id BYTEA PRIMARY KEY,
    token_digest BYTEA NOT NULL UNIQUE,
    account_id BYTEA NOT NULL REFERENCES accounts (id),
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
    id_digest BYTEA PRIMARY KEY,
    browser_digest BYTEA NOT NULL,
    parameters TEXT NOT NULL,
    session_id BYTEA,
    expires_at BIGINT NOT NULL
);
CREATE INDEX authorize_requests_expires_at ON authorize_requests (expires_at);

-- What an account has allowed a client.
CREATE TABLE consents (
    account_id BYTEA NOT NULL REFERENCES accounts (id),
    client_id TEXT NOT NULL REFERENCES clients (id),
    scope TEXT NOT NULL,
    given_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, client_id)
);

-- Authorization codes. One that was used is kept, so that its second use is known for what it is.
CREATE TABLE authorization_codes (
    handle BYTEA PRIMARY KEY,
    session_id BYTEA NOT NULL,
    account_id BYTEA NOT NULL REFERENCES accounts (id),
    credentials_version BIGINT NOT NULL,
    client_id TEXT NOT NULL REFERENCES clients (id),
    redirect_uri TEXT NOT NULL,
    challenge BYTEA,
    nonce TEXT,
    scope TEXT NOT NULL,
    audiences TEXT NOT NULL,
    amr TEXT NOT NULL,
    auth_time BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    failures SMALLINT NOT NULL,
    grant_id BYTEA
);
CREATE INDEX authorization_codes_expires_at ON authorization_codes (expires_at);
CREATE INDEX authorization_codes_session_id ON authorization_codes (session_id);

-- The log-in that a grant came from, if it came from one at a browser.
ALTER TABLE grants DROP CONSTRAINT grants_ended_by_check;
ALTER TABLE grants ADD CONSTRAINT grants_ended_by_check CHECK (ended_by IN
    ('replay', 'revocation', 'operator', 'password_change', 'account_disabled', 'client_disabled',
    'log_out', 'code_replay'));
ALTER TABLE grants ADD COLUMN session_id BYTEA;
CREATE INDEX grants_session_id ON grants (session_id) WHERE session_id IS NOT NULL;

-- What an account says of itself, as OpenID Connect names it.
ALTER TABLE accounts ADD COLUMN claims TEXT NOT NULL DEFAULT '{}';
