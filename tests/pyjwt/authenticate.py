#!/usr/bin/env python3
"""Gets a token by `private_key_jwt`, as a service without a shared secret would, with libraries that are not grantd's.

Needs `pip install -r tests/pyjwt/requirements.txt`. Reads the private key as PEM on stdin:

    python tests/pyjwt/authenticate.py --library authlib --issuer http://127.0.0.1:8080 \
        --token-url http://127.0.0.1:8080/token --client-id svc --alg ES256 < key.pem

Prints the answer as JSON. A refusal ends with exit status 1 and one sentence on stderr.
"""

import argparse
import json
import sys
import time
import uuid

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session, OAuthError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey, OKPKey, RSAKey

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def with_pyjwt(arguments, pem):
    """The assertion is made by hand, and sent like any other parameter."""
    now = int(time.time())
    assertion = jwt.encode(
        {
            "iss": arguments.client_id,
            "sub": arguments.client_id,
            "aud": arguments.issuer,
            "jti": str(uuid.uuid4()),
            "iat": now,
            "exp": now + 60,
        },
        pem,
        algorithm=arguments.alg,
        headers={"typ": "client-authentication+jwt"},
    )
    answer = requests.post(
        arguments.token_url,
        data={
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        },
        timeout=10,
    )
    if answer.status_code != 200:
        sys.exit(f"{answer.status_code}: {answer.text}")
    return answer.json()


def with_authlib(arguments, pem):
    """Authlib makes the assertion. Its audience is the token endpoint unless it is told the issuer."""
    kind = {"E": ECKey, "R": RSAKey, "P": RSAKey}[arguments.alg[0]]
    kind = OKPKey if arguments.alg.startswith("Ed") else kind
    session = OAuth2Session(
        arguments.client_id, kind.import_key(pem), token_endpoint_auth_method="private_key_jwt"
    )
    session.register_client_auth_method(PrivateKeyJWT(token_endpoint=arguments.issuer, alg=arguments.alg))
    try:
        # Twice, for each needs an assertion of its own.
        session.fetch_token(arguments.token_url, grant_type="client_credentials")
        return session.fetch_token(arguments.token_url, grant_type="client_credentials")
    except OAuthError as error:
        sys.exit(f"{error.error}: {error.description}")


def main():
    parser = argparse.ArgumentParser(description="Gets a token with the private key on stdin.")
    parser.add_argument("--library", required=True, choices=["pyjwt", "authlib"])
    parser.add_argument("--issuer", required=True, help="the audience of the assertion")
    parser.add_argument("--token-url", required=True, help="where the token endpoint is")
    parser.add_argument("--client-id", required=True)
    parser.add_argument("--alg", required=True, help="what the key signs with")
    arguments = parser.parse_args()
    pem = sys.stdin.read()
    library = {"pyjwt": with_pyjwt, "authlib": with_authlib}[arguments.library]
    print(json.dumps(dict(library(arguments, pem))))


if __name__ == "__main__":
    main()
