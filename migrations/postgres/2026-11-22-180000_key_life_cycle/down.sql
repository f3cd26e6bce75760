DROP TABLE audit_events;
DROP TABLE instances;
CREATE TABLE keys_without_life (
    kid TEXT PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('next', 'active', 'retiring', 'retired')),
    modulus BYTEA NOT NULL,
    exponent BYTEA NOT NULL,
    wrapped BYTEA,
    key_version INTEGER NOT NULL,
    published_at BIGINT NOT NULL,
    activated_at BIGINT,
    retiring_at BIGINT,
    retired_at BIGINT
);
INSERT INTO keys_without_life
    SELECT kid, position, CASE state WHEN 'standby' THEN 'next' WHEN 'compromised' THEN 'retired' ELSE state END,
        modulus, exponent, wrapped, key_version, published_at, activated_at, retiring_at, ended_at
    FROM signing_keys WHERE origin <> 'verify_only';
DROP TABLE signing_keys;
ALTER TABLE keys_without_life RENAME TO signing_keys;
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state = 'active';
CREATE UNIQUE INDEX signing_keys_one_next ON signing_keys (state) WHERE state = 'next';
