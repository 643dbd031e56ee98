#!/usr/bin/env python3
"""Verifies an access token as a service behind grantd would, with a library that is not grantd's.

Needs Python 3.9 or newer and `pip install -r tests/pyjwt/requirements.txt`; `.ci/run` makes such a
Python in target/ci-venv. Reads one token on stdin:

    python tests/pyjwt/verify.py --jwks-url http://127.0.0.1:8080/.well-known/jwks.json \
        --issuer http://127.0.0.1:8080 --audience http://127.0.0.1:8080 < token

Prints the claims as JSON. A token that does not hold ends with exit status 1 and one sentence on stderr.
"""

import argparse
import json
import sys

try:
    import jwt
except ImportError:
    sys.exit("PyJWT is not installed for this Python: run pip install -r tests/pyjwt/requirements.txt")

# RFC 8725 section 3.1: the verifier names the algorithms it takes, never the token.
ALGORITHMS = ["ES256", "ES384", "RS256", "PS256", "EdDSA"]

# RFC 9068 section 2.2: what every JWT access token carries.
REQUIRED_CLAIMS = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]

# RFC 9068 section 4: without this type it is some other JWT of the same issuer, such as an ID token.
ACCESS_TOKEN_TYPES = ["at+jwt", "application/at+jwt"]


def verify(token, jwks_url, issuer, audience, algorithms):
    """The claims of a token that holds; raises `jwt.PyJWTError` for any other."""
    key = jwt.PyJWKClient(jwks_url, timeout=10).get_signing_key_from_jwt(token)
    decoded = jwt.decode_complete(
        token,
        key,
        algorithms=algorithms,
        audience=audience,
        issuer=issuer,
        options={"require": REQUIRED_CLAIMS},
    )
    token_type = str(decoded["header"].get("typ", "")).lower()
    if token_type not in ACCESS_TOKEN_TYPES:
        raise jwt.InvalidTokenError(f"its typ is '{token_type}', an access token's is at+jwt")
    return decoded["payload"]


def main():
    parser = argparse.ArgumentParser(description="Verifies the access token on stdin with PyJWT.")
    parser.add_argument("--jwks-url", required=True, help="where the issuer publishes its keys")
    parser.add_argument("--issuer", required=True, help="the exact iss")
    parser.add_argument("--audience", required=True, help="what aud must name")
    parser.add_argument("--algorithm", action="append", help=f"may be repeated; all of {', '.join(ALGORITHMS)} if left out")
    arguments = parser.parse_args()
    token = sys.stdin.read().strip()

    try:
        claims = verify(
            token,
            arguments.jwks_url,
            arguments.issuer,
            arguments.audience,
            arguments.algorithm or ALGORITHMS,
        )
    except jwt.PyJWTError as error:
        sys.exit(f"PyJWT refuses the token ({type(error).__name__}): {error}")
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
