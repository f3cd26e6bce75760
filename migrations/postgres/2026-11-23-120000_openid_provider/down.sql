ALTER TABLE grants DROP COLUMN subject;
ALTER TABLE grants DROP COLUMN claims;
ALTER TABLE grants DROP COLUMN confirmation;
UPDATE grants SET ended_by = 'operator' WHERE ended_by = 'person';
ALTER TABLE grants DROP CONSTRAINT grants_ended_by_check;
ALTER TABLE grants ADD CONSTRAINT grants_ended_by_check CHECK (ended_by IN
    ('replay', 'revocation', 'operator', 'password_change', 'account_disabled', 'client_disabled',
    'log_out', 'code_replay'));
ALTER TABLE authorization_codes DROP COLUMN claims;
ALTER TABLE authorization_codes DROP COLUMN confirmation;
DELETE FROM authorize_requests WHERE page IS NOT NULL;
ALTER TABLE authorize_requests DROP COLUMN page;
DROP INDEX browser_sessions_remembered_id;
ALTER TABLE browser_sessions DROP COLUMN remembered_id;
ALTER TABLE browser_sessions DROP COLUMN user_agent;
ALTER TABLE browser_sessions DROP COLUMN network;
DROP INDEX consents_client_id;
DROP INDEX clients_registration_digest;
ALTER TABLE clients DROP COLUMN registration_digest;
DROP TABLE initial_access_tokens;
DROP TABLE remembered_log_ins;
DROP TABLE logout_notices;
ALTER TABLE authorize_requests DROP COLUMN user_code_digest;
DROP TABLE device_codes;
DROP TABLE pushed_requests;
DROP TABLE pairwise_subjects;
DROP TABLE one_time_values;
