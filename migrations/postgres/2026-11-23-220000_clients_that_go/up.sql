-- A large table takes longer than a request may.
SET LOCAL statement_timeout = 0;

-- The grants of a client that ends are walked in the order of their identifiers, and no others.
CREATE INDEX grants_client_id ON grants (client_id, id);

-- Before a client leaves, it is looked whether anything still refers to it.
CREATE INDEX authorization_codes_client_id ON authorization_codes (client_id);
CREATE INDEX device_codes_client_id ON device_codes (client_id);
CREATE INDEX logout_notices_client_id ON logout_notices (client_id);
CREATE INDEX pushed_requests_client_id ON pushed_requests (client_id);

-- Clients that deleted themselves leave as soon as nothing is left of what they had.
UPDATE clients SET unused_since = database_now()
    WHERE registration_digest = decode(repeat('00', 32), 'hex') AND disabled_at IS NOT NULL AND unused_since IS NULL;
