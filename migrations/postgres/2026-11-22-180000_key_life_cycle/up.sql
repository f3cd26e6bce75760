-- A key's whole life in its row; the instances that publish keys; what operators did.

CREATE TABLE keys_with_life (
    kid TEXT PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('standby', 'active', 'retiring', 'retired', 'compromised')),
    origin TEXT NOT NULL CHECK (origin IN ('generated', 'imported', 'verify_only')),
    modulus BYTEA NOT NULL,
    exponent BYTEA NOT NULL,
    wrapped BYTEA,
    key_version INTEGER NOT NULL,
    published_at BIGINT NOT NULL,
    activated_at BIGINT,
    retiring_at BIGINT,
    ended_at BIGINT,
    longest_life BIGINT NOT NULL
);
-- A standby is now encrypted under a key of its own. One from before never signed anything: it leaves, a new one is made.
INSERT INTO keys_with_life
    SELECT kid, position, CASE state WHEN 'next' THEN 'retired' ELSE state END, 'generated', modulus, exponent,
        CASE state WHEN 'next' THEN NULL ELSE wrapped END, key_version, published_at, activated_at, retiring_at, retired_at,
        CASE state WHEN 'next' THEN 0 ELSE 86400 END
    FROM signing_keys;
DROP TABLE signing_keys;
ALTER TABLE keys_with_life RENAME TO signing_keys;
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state = 'active';

CREATE TABLE instances (
    id BYTEA PRIMARY KEY,
    seen_at BIGINT NOT NULL,
    left_at BIGINT,
    signing_keys_epoch BIGINT NOT NULL,
    master_key_version INTEGER NOT NULL,
    master_key_check BIGINT NOT NULL
);

CREATE TABLE audit_events (
    id BYTEA PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    event TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL
);
CREATE INDEX audit_events_at ON audit_events (at);
