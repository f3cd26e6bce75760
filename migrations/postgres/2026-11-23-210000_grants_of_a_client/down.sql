DROP INDEX grants_client_id;
