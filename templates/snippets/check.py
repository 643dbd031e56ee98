ISSUER = {{ self.0.issuer }}
AUDIENCE = {{ self.0.audience }}  # this service; a token for another one is not for us
ALGORITHMS = [{{ self.0.algorithms("\"", "\"") }}]  # never what the token says; a client with another --alg needs that here, too
REQUIRED = ["iss", "aud", "exp", "iat", "sub", "client_id", "jti"]  # RFC 9068 section 2.2
# Kept for 5 minutes; a token with an unknown kid makes it look for new keys, but not more often than every 5 s.
KEYS = jwt.PyJWKClient({{ self.0.jwks_uri }}, timeout=3, cooldown_duration=5)
# A revoked token is good here until it expires: keep tokens.access_ttl short, ask /introspect, or read the status list as
# grantd's examples/validators do.


class Refused(Exception):
    """What to answer instead, RFC 6750 section 3: status, error and headers."""

    def __init__(self, status, error, challenge=""):
        self.status, self.error = status, error
        self.headers = {"WWW-Authenticate": f'Bearer realm="{ISSUER}"{challenge}'}


def check(authorization, scope=""):
    """The claims of the token in an Authorization header, if it is good and has every scope of `scope`."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refused(401, "invalid_token")  # no error in the challenge for who sent no token
    try:
        key = KEYS.get_signing_key_from_jwt(token)
        sent = jwt.decode_complete(
            token, key, ALGORITHMS, {"require": REQUIRED}, issuer=ISSUER, audience=AUDIENCE, leeway=5
        )
    except jwt.PyJWKClientConnectionError:  # the token may be good: a 401 would log people out
        refused = Refused(503, "temporarily_unavailable")
        refused.headers = {"Retry-After": "5"}
        raise refused from None
    except jwt.PyJWTError:
        raise Refused(401, "invalid_token", ', error="invalid_token"') from None
    claims = sent["payload"]
    # RFC 9068 section 4: an ID token, or another JWT of the same issuer, is no access token. And one with `cnf` is bound
    # to a key (DPoP): who sends it as a bearer token may have stolen it.
    if str(sent["header"].get("typ")).lower() not in ("at+jwt", "application/at+jwt") or "cnf" in claims:
        raise Refused(401, "invalid_token", ', error="invalid_token"')
    if not set(scope.split()) <= set(claims.get("scope", "").split()):
        raise Refused(403, "insufficient_scope", f', error="insufficient_scope", scope="{scope}"')
    return claims
