UPDATE grants SET ended_by = 'operator' WHERE ended_by IN ('log_out', 'code_replay');
ALTER TABLE grants DROP CONSTRAINT grants_ended_by_check;
ALTER TABLE grants ADD CONSTRAINT grants_ended_by_check CHECK (ended_by IN
    ('replay', 'revocation', 'operator', 'password_change', 'account_disabled', 'client_disabled'));
DROP INDEX grants_session_id;
ALTER TABLE grants DROP COLUMN session_id;
DROP TABLE authorization_codes;
DROP TABLE consents;
DROP TABLE authorize_requests;
DROP TABLE browser_sessions;
ALTER TABLE accounts DROP COLUMN claims;
