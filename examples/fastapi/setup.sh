#!/bin/sh
# Registers what the example needs with grantd, and does nothing the second time:
#   sh setup.sh            with `grantd` in the PATH, in the directory where `grantd serve` runs
#   sh setup.sh ./grantd   with another one
# docker-compose.yaml runs it by itself.
set -eu
grantd=${1:-grantd}
audience=${AUDIENCE:-http://127.0.0.1:9000}
password=${DEMO_PASSWORD:-correct horse battery staple}

if "$grantd" client show items-docs >/dev/null 2>&1; then
    echo 'items-docs is there already' >&2
    exit 0
fi
# The scope admin is for whoever holds the role; the other scopes are for everybody.
"$grantd" role create admin --scope admin
printf %s "$password" | "$grantd" user create alice --password-stdin
printf %s "$password" | "$grantd" user create root --role admin --password-stdin
# A program that calls for itself. Its secret is shown this once.
"$grantd" client create items-job --grant client_credentials --scope jobs --audience "$audience"
# The page /docs of the service, which has no secret. Last, because its being there means that all is.
"$grantd" client create items-docs --grant password --grant refresh_token --auth-method none \
    --scope "me items admin" --audience "$audience"
