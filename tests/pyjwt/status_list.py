#!/usr/bin/env python3
"""Reads a Token Status List as a service behind grantd would, with nothing of grantd's.

Needs what verify.py needs. Fetches the list, checks it by draft-ietf-oauth-status-list section 8.3 and prints
{"claims": …, "size": entries, "ones": [the indexes that are set]}:

    python tests/pyjwt/status_list.py --jwks-url http://127.0.0.1:8080/.well-known/jwks.json \
        --url http://127.0.0.1:8080/status/0 --uri http://127.0.0.1:8080/status/0

--uri is what the tokens say, where the list is fetched from another address. A list that does not hold ends with
exit status 1 and one sentence on stderr.
"""

import argparse
import base64
import json
import sys
import urllib.request
import zlib

try:
    import jwt
except ImportError:
    sys.exit("PyJWT is not installed for this Python: run pip install -r tests/pyjwt/requirements.txt")

MEDIA_TYPE = "application/statuslist+jwt"


def fetch(url):
    """The signed list."""
    request = urllib.request.Request(url, headers={"Accept": MEDIA_TYPE})
    with urllib.request.urlopen(request, timeout=10) as response:
        if response.headers["Content-Type"] != MEDIA_TYPE:
            sys.exit(f"the content type is {response.headers['Content-Type']}")
        return response.read().decode("ascii")


def main():
    parser = argparse.ArgumentParser(description="Fetches, verifies and decodes a status list.")
    parser.add_argument("--jwks-url", required=True, help="where the issuer publishes its keys")
    parser.add_argument("--url", required=True, help="where the list is fetched from")
    parser.add_argument("--uri", required=True, help="what its sub must be")
    arguments = parser.parse_args()

    token = fetch(arguments.url)
    key = jwt.PyJWKClient(arguments.jwks_url, timeout=10).get_signing_key_from_jwt(token)
    try:
        decoded = jwt.decode_complete(
            token,
            key,
            algorithms=["ES256", "ES384", "RS256", "PS256", "EdDSA"],
            options={"require": ["sub", "iat", "exp", "ttl", "status_list"]},
        )
    except jwt.PyJWTError as error:
        sys.exit(f"PyJWT refuses the list ({type(error).__name__}): {error}")
    claims = decoded["payload"]
    if decoded["header"]["typ"] != "statuslist+jwt":
        sys.exit(f"its typ is {decoded['header']['typ']}")
    if claims["sub"] != arguments.uri:
        sys.exit(f"its sub is {claims['sub']}")
    status_list = claims.pop("status_list")
    if set(status_list) != {"bits", "lst"} or status_list["bits"] != 1:
        sys.exit(f"its members are {sorted(status_list)}")

    lst = status_list["lst"]
    packed = zlib.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)))
    ones = [index for index in range(len(packed) * 8) if packed[index // 8] >> (index % 8) & 1]
    print(json.dumps({"claims": claims, "size": len(packed) * 8, "ones": ones}))


if __name__ == "__main__":
    main()
