#!/usr/bin/env python3
"""PyJWT, Authlib, requests-oauthlib and joserfc, as they are, against a grantd: does what each is for.

Needs `pip install -r tests/pyjwt/requirements.txt`. `tests/it/clients.rs` starts it and says what ISSUER, CLIENT_ID and the
other variables are. Prints what worked as JSON; whatever does not ends it.
"""

import json
import os
import time
import uuid

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # http is for this machine only

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import ECKey, KeySet
from oauthlib.oauth2 import BackendApplicationClient, InvalidGrantError, LegacyApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session as OAuthlibSession

ISSUER, AUDIENCE = os.environ["ISSUER"], os.environ["AUDIENCE"]
APP = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]
USER = {"username": os.environ["USER_NAME"], "password": os.environ["PASSWORD"]}
SVC, PEM = os.environ["KEY_CLIENT_ID"], os.environ["KEY_PEM"]
TOKEN, JWKS, SCOPE = f"{ISSUER}/token", f"{ISSUER}/.well-known/jwks.json", "notes:read"


def assertion():
    now = int(time.time())
    return {"iss": SVC, "sub": SVC, "aud": ISSUER, "jti": str(uuid.uuid4()), "iat": now, "exp": now + 60}


def token_for(assertion):
    kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    form = {"grant_type": "client_credentials", "client_assertion_type": kind, "client_assertion": assertion}
    answer = requests.post(TOKEN, form, timeout=10)
    assert answer.status_code == 200, answer.text


def pyjwt(token):
    key = jwt.PyJWKClient(JWKS).get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key, ["ES256"], issuer=ISSUER, audience=AUDIENCE)
    assert claims["preferred_username"] == USER["username"], claims
    try:
        jwt.decode(token, key, ["ES256"], issuer=ISSUER, audience="https://other.example")
        raise AssertionError("another audience")
    except jwt.InvalidAudienceError:
        pass
    token_for(jwt.encode(assertion(), PEM, "ES256"))
    return ["JWKS", "private_key_jwt"]


def joserfc(token):
    keys = KeySet.import_key_set(requests.get(JWKS, timeout=10).json())
    decoded = joserfc_jwt.decode(token, keys, algorithms=["ES256"])
    rules = {name: {"essential": True, "value": value} for name, value in {"iss": ISSUER, "aud": AUDIENCE}.items()}
    joserfc_jwt.JWTClaimsRegistry(**rules, exp={"essential": True}).validate(decoded.claims)
    assert decoded.header["typ"] == "at+jwt" and decoded.claims["preferred_username"] == USER["username"]
    token_for(joserfc_jwt.encode({"alg": "ES256"}, assertion(), ECKey.import_key(PEM)))
    return ["JWKS", "private_key_jwt"]


def authlib():
    session = OAuth2Session(*APP, scope=SCOPE)
    assert session.fetch_token(TOKEN, grant_type="client_credentials")["scope"] == SCOPE
    tokens = session.fetch_token(TOKEN, **USER)  # which Authlib takes for the password grant
    for _ in range(2):
        old, tokens = tokens, session.refresh_token(TOKEN, tokens["refresh_token"])
        assert tokens["refresh_token"] != old["refresh_token"]
    assert session.get(f"{ISSUER}/userinfo").json()["preferred_username"] == USER["username"]
    said = session.introspect_token(f"{ISSUER}/introspect", tokens["access_token"]).json()
    assert said["active"] and said["aud"] == AUDIENCE, said
    access_token = tokens["access_token"]
    assert session.revoke_token(f"{ISSUER}/revoke", tokens["refresh_token"], "refresh_token").status_code == 200
    assert session.introspect_token(f"{ISSUER}/introspect", access_token).json() == {"active": False}

    session = OAuth2Session(SVC, ECKey.import_key(PEM), token_endpoint_auth_method="private_key_jwt")
    session.register_client_auth_method(PrivateKeyJWT(token_endpoint=ISSUER, alg="ES256"))
    assert session.fetch_token(TOKEN, grant_type="client_credentials")["access_token"]
    return ["client_credentials", "password", "refresh_token", "introspection", "revocation", "private_key_jwt"]


def requests_oauthlib():
    own = OAuthlibSession(client=BackendApplicationClient(APP[0], scope=SCOPE))
    assert own.fetch_token(TOKEN, auth=HTTPBasicAuth(*APP))["scope"] == [SCOPE]

    client = LegacyApplicationClient(APP[0])
    session = OAuthlibSession(client=client, scope=SCOPE)
    tokens = session.fetch_token(TOKEN, **USER, auth=HTTPBasicAuth(*APP))
    for _ in range(2):
        old, tokens = tokens, session.refresh_token(TOKEN, auth=HTTPBasicAuth(*APP))
        assert tokens["refresh_token"] != old["refresh_token"]
    assert session.get(f"{ISSUER}/userinfo").json()["preferred_username"] == USER["username"]

    url, headers, body = client.prepare_token_revocation_request(
        f"{ISSUER}/revoke", tokens["refresh_token"], "refresh_token"
    )
    assert requests.post(url, body, headers=headers, auth=APP, timeout=10).status_code == 200
    try:
        session.refresh_token(TOKEN, auth=HTTPBasicAuth(*APP))
        raise AssertionError("a revoked refresh token")
    except InvalidGrantError:
        pass
    return ["client_credentials", "password", "refresh_token", "revocation"]


def main():
    session = OAuth2Session(*APP, scope=SCOPE)
    token = session.fetch_token(TOKEN, **USER)["access_token"]
    worked = {"PyJWT": pyjwt(token), "joserfc": joserfc(token), "Authlib": authlib()}
    worked["requests-oauthlib"] = requests_oauthlib()
    print(json.dumps(worked))


if __name__ == "__main__":
    main()
