#!/bin/sh
# The same as machine.sh by a private key, which never leaves this machine (private_key_jwt, RFC 7523): an Ed25519 key and openssl 3.
#
# usage: machine-with-key.sh ISSUER CLIENT_ID KEY_FILE RESOURCE
set -eu
ISSUER=$1 CLIENT_ID=$2 KEY_FILE=$3 RESOURCE=$4

base64url() { base64 | tr '+/' '-_' | tr -d '=\n'; }

now=$(date +%s)
signed=$(mktemp)
trap 'rm -f "$signed"' EXIT
# OpenID Connect Core §9: for this issuer alone, for a minute, and once.
{
  printf '{"alg":"EdDSA","typ":"JWT"}' | base64url
  printf .
  printf '{"iss":"%s","sub":"%s","aud":"%s","iat":%d,"exp":%d,"jti":"%s"}' \
    "$CLIENT_ID" "$CLIENT_ID" "$ISSUER" "$now" "$((now + 60))" "$(openssl rand -hex 16)" | base64url
} >"$signed"
assertion=$(cat "$signed").$(openssl pkeyutl -sign -rawin -inkey "$KEY_FILE" -in "$signed" | base64url)

# An assertion is good once, so a repeat needs a new one: no --retry here.
printf 'data = "client_assertion=%s"\n' "$assertion" |
  curl -fsS --config - "$ISSUER/token" -d grant_type=client_credentials --data-urlencode "resource=$RESOURCE" \
    --data-urlencode client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer |
  sed -E 's/.*"access_token":"([^"]+)".*/\1/'
