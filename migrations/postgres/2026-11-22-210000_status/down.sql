UPDATE grants SET ended_by = 'operator' WHERE ended_by = 'client_disabled';
DROP INDEX grants_status_position;
ALTER TABLE grants DROP COLUMN status_position;
ALTER TABLE grants DROP CONSTRAINT grants_ended_by_check;
ALTER TABLE grants ADD CONSTRAINT grants_ended_by_check CHECK (ended_by IN
    ('replay', 'revocation', 'operator', 'password_change', 'account_disabled'));
DROP INDEX clients_status_position;
ALTER TABLE clients DROP COLUMN status_position;
DROP TABLE outbox;
DROP TABLE status_receipts;
DROP TABLE status_changes;
DROP TABLE status_feed;
DROP TABLE cutoffs;
DROP TABLE status_bits;
DROP TABLE status_leases;
DROP TABLE status_lists;
