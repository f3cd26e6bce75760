#!/bin/sh
# Runs once, when the database of docker-compose.yml is made: a role that owns its database and nothing else.
set -eu
psql --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres --no-password --quiet <<'SQL'
\set password `cat /run/secrets/database_password`
CREATE ROLE countersign LOGIN PASSWORD :'password';
CREATE DATABASE countersign OWNER countersign;
REVOKE CONNECT ON DATABASE countersign FROM PUBLIC;
SQL
