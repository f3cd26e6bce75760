#!/bin/sh
# A device without a keyboard or a browser (RFC 8628): shows a code, and asks until a person has typed it elsewhere.
#
# usage: device.sh ISSUER CLIENT_ID
set -eu
ISSUER=$1 CLIENT_ID=$2

# A member of a small JSON object; a program has a parser for that.
member() { sed -nE 's/.*"'"$1"'":"?([^",}]+).*/\1/p'; }

codes=$(curl -fsS "$ISSUER/device_authorization" -d client_id="$CLIENT_ID" \
  --data-urlencode "scope=openid email offline_access read")
printf 'Go to %s and type %s\n' "$(printf %s "$codes" | member verification_uri)" "$(printf %s "$codes" | member user_code)"
printf 'or open %s\n' "$(printf %s "$codes" | member verification_uri_complete)"
device_code=$(printf %s "$codes" | member device_code)
interval=$(printf %s "$codes" | member interval)

while :; do
  sleep "$interval"
  # From standard input: what is an argument is in the list of processes. Nothing is lost by an answer that does not come.
  tokens=$(printf 'data = "device_code=%s"\n' "$device_code" | curl -sS --config - "$ISSUER/token" \
    -d grant_type=urn:ietf:params:oauth:grant-type:device_code -d client_id="$CLIENT_ID") || tokens='{"error":"unanswered"}'
  case $(printf %s "$tokens" | member error) in
    '') break ;;
    authorization_pending | temporarily_unavailable | server_error) ;;
    # RFC 8628 §3.5: for good; the same for a connection that broke.
    slow_down | unanswered) interval=$((interval + 5)) ;;
    *) printf 'Not logged in: %s\n' "$(printf %s "$tokens" | member error)" && exit 1 ;;
  esac
done

# Store the refresh token here, where it survives a crash, before anything of the answer is used.
user=$(printf 'header = "Authorization: Bearer %s"\n' "$(printf %s "$tokens" | member access_token)" |
  curl -fsS --config - "$ISSUER/userinfo")
printf 'Logged in: %s\n' "$(printf %s "$user" | member email)"
