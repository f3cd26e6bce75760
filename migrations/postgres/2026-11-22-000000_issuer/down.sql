DROP TABLE epochs;
DROP TABLE signing_keys;
DROP TABLE revoked_tokens;
DROP TABLE grants;
DROP TABLE client_secrets;
DROP TABLE clients;
DROP TABLE login_attempts;
DROP TABLE accounts;
