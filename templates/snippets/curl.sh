#!/usr/bin/env bash
# Needs bash, curl and jq; save as check.sh; start with: CLIENT_ID=... CLIENT_SECRET=... bash check.sh
# Checks the token in the variable TOKEN, or else one that it gets for the client itself.
set -euo pipefail
issuer={{ self.0.word_of_issuer() }}
audience={{ self.0.word_of_audience() }}
scope={{ self.0.word_of_scope() }}

# Through pipes, not as arguments, which everybody on this machine can read. A quote or a backslash in the secret would
# have to be escaped; grantd's have neither.
as_client() { curl -sS --max-time 10 --config <(printf 'user = "%s:%s"\n' "$CLIENT_ID" "$CLIENT_SECRET") "$@"; }

if [ -z "${TOKEN:-}" ]; then
    # For all audiences of the client; `resource` would pick one of them.
    answer=$(as_client --data grant_type=client_credentials --data-urlencode "scope=$scope" "$issuer/token")
    TOKEN=$(jq -er .access_token <<<"$answer") || { printf '%s\n' "$answer" >&2; exit 1; }
fi

# grantd itself looks, so that a revoked token is not active any more. It tells the client that the token was issued to, and
# those registered with --resource-server for its audience; to all others every token is {"active":false}.
answer=$(printf '%s' "$TOKEN" | as_client --data-urlencode token@- "$issuer/introspect")
printf '%s\n' "$answer"
# An active refresh token is no access token, and has no token_type.
jq -e --arg aud "$audience" '.active == true and .token_type == "Bearer" and ([.aud] | flatten | index($aud) != null)' \
    <<<"$answer" >/dev/null || { echo 'no good token for this audience' >&2; exit 1; }
jq -e --arg scope "$scope" '($scope | split(" ")) - (.scope // "" | split(" ")) | length == 0' \
    <<<"$answer" >/dev/null || { echo 'the token lacks the scope' >&2; exit 3; }
