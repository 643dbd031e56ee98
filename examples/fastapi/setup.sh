#!/bin/sh
# Registers what the example needs with grantd. What is there already stays as it is, so that it can be run again, also
# after something cut it off:
#   sh setup.sh            with `grantd` in the PATH, in the directory where `grantd serve` runs
#   sh setup.sh ./grantd   with another one
# docker-compose.yaml runs it by itself.
set -eu
grantd=${1:-grantd}
audience=${AUDIENCE:-http://127.0.0.1:9000}
password=${DEMO_PASSWORD:-correct horse battery staple}

has() {
    "$grantd" "$1" show "$2" >/dev/null 2>&1
}

# The scope admin is for whoever holds the role; the other scopes are for everybody.
has role admin || "$grantd" role create admin --scope admin
has user alice || printf %s "$password" | "$grantd" user create alice --password-stdin
has user root || printf %s "$password" | "$grantd" user create root --role admin --password-stdin
# A program that calls for itself. Its secret is shown this once; `grantd client rotate-secret items-job` gives another one.
has client items-job ||
    "$grantd" client create items-job --grant client_credentials --scope jobs --audience "$audience"
# The page /docs of the service, which has no secret.
has client items-docs ||
    "$grantd" client create items-docs --grant password --grant refresh_token --auth-method none \
        --scope "me items admin" --audience "$audience"
