-- Ids and digests are bytes, instants are microseconds since the Unix epoch, lists and maps are JSON text.

CREATE TABLE accounts (
    id BLOB PRIMARY KEY NOT NULL,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL UNIQUE,
    username TEXT,
    username_key TEXT UNIQUE,
    password_hash TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT
);

CREATE TABLE login_attempts (
    key BLOB PRIMARY KEY NOT NULL,
    failures INTEGER NOT NULL,
    blocked_until BIGINT NOT NULL,
    tried_at BIGINT NOT NULL,
    succeeded_at BIGINT
);
CREATE INDEX login_attempts_tried_at ON login_attempts (tried_at);

CREATE TABLE clients (
    id TEXT PRIMARY KEY NOT NULL,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT,
    not_before BIGINT NOT NULL
);

CREATE TABLE client_secrets (
    id BLOB PRIMARY KEY NOT NULL,
    client_id TEXT NOT NULL REFERENCES clients (id),
    digest BLOB NOT NULL,
    key_version INTEGER NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX client_secrets_client_id ON client_secrets (client_id);

CREATE TABLE grants (
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
    ended_by TEXT CHECK (ended_by IN ('replay', 'revocation', 'operator', 'password_change', 'account_disabled'))
);
CREATE INDEX grants_account_id ON grants (account_id);

CREATE TABLE revoked_tokens (
    jti TEXT PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX revoked_tokens_expires_at ON revoked_tokens (expires_at);

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY NOT NULL,
    position INTEGER NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('next', 'active', 'retiring', 'retired')),
    modulus BLOB NOT NULL,
    exponent BLOB NOT NULL,
    wrapped BLOB,
    key_version INTEGER NOT NULL,
    published_at BIGINT NOT NULL,
    activated_at BIGINT,
    retiring_at BIGINT,
    retired_at BIGINT
);
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state = 'active';
CREATE UNIQUE INDEX signing_keys_one_next ON signing_keys (state) WHERE state = 'next';

CREATE TABLE epochs (
    name TEXT PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
);
INSERT INTO epochs (name, value) VALUES ('clients', 0), ('signing_keys', 0);
