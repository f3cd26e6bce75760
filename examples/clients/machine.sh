#!/bin/sh
# A program that acts for itself (client credentials, RFC 6749 §4.4), by a secret: prints an access token. Keep it until a minute
# before `expires_in` is over, then ask again.
#
# usage: machine.sh ISSUER CLIENT_ID SECRET_FILE RESOURCE
set -eu
ISSUER=$1 CLIENT_ID=$2 SECRET_FILE=$3 RESOURCE=$4

# From standard input: what is an argument is in the list of processes. On 503 it waits as long as it is told.
printf 'user = "%s:%s"\n' "$CLIENT_ID" "$(cat "$SECRET_FILE")" |
  curl -fsS --retry 3 --config - "$ISSUER/token" -d grant_type=client_credentials --data-urlencode "resource=$RESOURCE" |
  sed -E 's/.*"access_token":"([^"]+)".*/\1/'
