SET LOCAL statement_timeout = 0;

DROP INDEX grants_client_id;
DROP INDEX authorization_codes_client_id;
DROP INDEX device_codes_client_id;
DROP INDEX logout_notices_client_id;
DROP INDEX pushed_requests_client_id;
