-- A large table takes longer than a request may.
SET LOCAL statement_timeout = 0;

-- Clients that registered themselves leave when nobody allows them anything for a day: since when nobody has.
ALTER TABLE clients ADD COLUMN unused_since BIGINT;
UPDATE clients SET unused_since = database_now() WHERE registration_digest IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM consents WHERE consents.client_id = clients.id)
    AND id NOT IN (SELECT client_id FROM grants)
    AND id NOT IN (SELECT client_id FROM authorization_codes)
    AND id NOT IN (SELECT client_id FROM logout_notices);
CREATE INDEX clients_unused_since ON clients (unused_since) WHERE unused_since IS NOT NULL;
