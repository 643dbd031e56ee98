"""Who is asking: what the FastAPI tutorial makes by hand, with grantd behind it.

The tutorial keeps users, hashes passwords and signs tokens with a secret in the source. Here grantd does all that; this file
checks its tokens with its public keys, and asks it nothing for a request.
"""

import base64
import os
import threading
import time
import zlib
from typing import Annotated

import httpx
import jwt
from fastapi import Depends, HTTPException, Request, Security, status
from fastapi.openapi.models import OAuthFlowClientCredentials, OAuthFlows
from fastapi.security import OAuth2, OAuth2PasswordBearer, SecurityScopes
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import BaseModel

# The exact `iss` of the tokens, by which browsers reach grantd.
ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8080")
# How this service reaches grantd, where that is another way: in docker-compose.yaml it is.
GRANTD_URL = os.environ.get("GRANTD_URL", ISSUER)
# The `aud` that tokens for this service have.
AUDIENCE = os.environ.get("AUDIENCE", "http://127.0.0.1:9000")
# Signatures by keys that stay with grantd, and nothing else (RFC 8725 section 3.1).
ALGORITHMS = ["ES256", "ES384", "RS256", "PS256", "EdDSA"]
# Seconds: what grantd may take for an answer, and how long it is not asked again after it gave none.
TIMEOUT, PAUSE = 3, 5
# RFC 9068 section 2.2.
REQUIRED = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]

# The Authorize button of /docs logs in at grantd, from the browser: the password never comes by here.
password_flow = OAuth2PasswordBearer(
    tokenUrl=f"{ISSUER}/token",
    scopes={"me": "Read information about yourself.", "items": "Read your items.", "admin": "Read about everybody."},
)


class ClientCredentials(OAuth2):
    """The same for programs that call for themselves; FastAPI has no class for it."""

    def __init__(self, token_url: str, scopes: dict[str, str]):
        flow = OAuthFlowClientCredentials(tokenUrl=token_url, scopes=scopes)
        super().__init__(flows=OAuthFlows(clientCredentials=flow), scheme_name="ClientCredentials")

    async def __call__(self, request: Request) -> str:
        scheme, token = get_authorization_scheme_param(request.headers.get("Authorization"))
        if scheme.lower() != "bearer":
            raise refusal(status.HTTP_401_UNAUTHORIZED, "Not authenticated")
        return token


client_flow = ClientCredentials(f"{ISSUER}/token", {"jobs": "Start jobs."})


class User(BaseModel):
    id: str
    username: str
    roles: list[str] = []
    scopes: list[str] = []
    disabled: bool = False


class Client(BaseModel):
    id: str
    scopes: list[str] = []


def refusal(code: int, detail: str, **challenge: str) -> HTTPException:
    """RFC 6750 section 3."""
    members = "".join(f', {name}="{value}"' for name, value in challenge.items() if value)
    return HTTPException(code, detail, {"WWW-Authenticate": f'Bearer realm="{AUDIENCE}"{members}'})


class Keys(jwt.PyJWKClient):
    """PyJWT's client, which makes all wait while it asks. If grantd does not answer, it asks again after a pause only."""

    retry_at = 0.0

    def fetch_data(self):
        if time.monotonic() < self.retry_at:
            raise jwt.PyJWKClientConnectionError("it did not answer a moment ago")
        try:
            return super().fetch_data()
        except jwt.PyJWKClientConnectionError:
            self.retry_at = time.monotonic() + PAUSE
            raise


keys = Keys(f"{GRANTD_URL}/.well-known/jwks.json", lifespan=300, timeout=TIMEOUT)


def decode(token: str, typ: str, audience: str | None, required: list[str]) -> dict:
    """The claims of a JWT that grantd signed for this purpose."""
    decoded = jwt.decode_complete(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=ALGORITHMS,
        audience=audience,
        issuer=ISSUER,
        options={"require": required, "verify_aud": audience is not None},
    )
    if decoded["header"].get("typ") != typ:
        raise jwt.InvalidTokenError(f"its typ is {decoded['header'].get('typ')!r}, not {typ!r}")
    return decoded["payload"]


def claims_of(token: str, scopes: SecurityScopes) -> dict:
    """The claims of an access token that is good and allows what the route asks for."""
    try:
        claims = decode(token, "at+jwt", AUDIENCE, REQUIRED)
        # Bound to a key (RFC 9449): who presents it as a bearer token may be a thief.
        if "cnf" in claims:
            raise jwt.InvalidTokenError("it is bound to a key")
    except jwt.PyJWKClientConnectionError:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "Tokens cannot be checked now") from None
    except jwt.PyJWTError:
        raise refusal(status.HTTP_401_UNAUTHORIZED, "Could not validate credentials", error="invalid_token") from None
    if not set(scopes.scopes) <= set(claims.get("scope", "").split()):
        raise refusal(
            status.HTTP_403_FORBIDDEN, "Not enough permissions", error="insufficient_scope", scope=scopes.scope_str
        )
    return claims


class Unavailable(Exception):
    """Nobody can say now."""


class StatusList:
    """One of grantd's signed lists of revoked tokens (Token Status List): kept for its `ttl`, 30 seconds by default, and for
    want of a newer one until its `exp`."""

    def __init__(self, uri: str):
        self.uri, self.lock = uri, threading.Lock()
        self.bits, self.fresh_until, self.good_until = b"", 0.0, 0.0
        self.failing, self.retry_at = False, 0.0

    def has(self, index: int) -> bool:
        self.refresh()
        if time.monotonic() >= self.good_until:
            raise Unavailable
        bits = self.bits
        return index >= len(bits) * 8 or bits[index // 8] >> (index % 8) & 1 == 1

    def is_due(self) -> bool:
        return time.monotonic() >= max(self.fresh_until, self.retry_at)

    def refresh(self):
        """One thread asks for a newer list. The others wait for it only if there is none yet and nothing has failed, so that
        a grantd that does not answer does not hold all of them up."""
        if not self.is_due():
            return
        nothing_yet = time.monotonic() >= self.good_until and not self.failing
        if not self.lock.acquire(blocking=nothing_yet):
            return
        try:
            if self.is_due():
                self.bits, self.good_until, self.fresh_until = self.fetch()
                self.failing = False
        except (httpx.HTTPError, jwt.PyJWTError, zlib.error, LookupError, TypeError, ValueError):
            self.failing, self.retry_at = True, time.monotonic() + PAUSE
        finally:
            self.lock.release()

    def fetch(self) -> tuple[bytes, float, float]:
        asked_at = time.monotonic()
        # The uri is from a token that grantd signed; it says where browsers would find the list.
        uri = self.uri.replace(ISSUER, GRANTD_URL, 1)
        answer = httpx.get(uri, headers={"Accept": "application/statuslist+jwt"}, timeout=TIMEOUT)
        claims = decode(answer.raise_for_status().text, "statuslist+jwt", None, ["sub", "iat", "exp", "ttl", "status_list"])
        if claims["sub"] != self.uri or claims["status_list"]["bits"] != 1:
            raise jwt.InvalidTokenError("it is another list")
        lst = claims["status_list"]["lst"]
        bits = zlib.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)))
        return bits, asked_at + claims["exp"] - time.time(), asked_at + claims["ttl"]


status_lists: dict[str, StatusList] = {}


def is_revoked(claims: dict) -> bool:
    if "status" not in claims:
        return False  # of a client registered with --no-status
    uri, index = claims["status"]["status_list"]["uri"], claims["status"]["status_list"]["idx"]
    try:
        return status_lists.setdefault(uri, StatusList(uri)).has(index)
    except Unavailable:
        # To let everybody in instead, return False.
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "Tokens cannot be checked now") from None


def get_current_user(scopes: SecurityScopes, token: Annotated[str, Depends(password_flow)]) -> User:
    claims = claims_of(token, scopes)
    # Only a token that stands for a person has a name. One of a client that another one got by token exchange (RFC 8693)
    # has two clients for its `sub` and `client_id`.
    if "preferred_username" not in claims:
        raise refusal(status.HTTP_403_FORBIDDEN, "This is for people", error="insufficient_scope")
    return User(
        id=claims["sub"],
        username=claims["preferred_username"],
        roles=claims.get("roles", []),
        scopes=claims.get("scope", "").split(),
        disabled=is_revoked(claims),
    )


def get_current_active_user(current_user: Annotated[User, Security(get_current_user)]) -> User:
    # Whatever ends a session revokes its tokens: the user was switched off, has a new password, or logged out.
    if current_user.disabled:
        raise refusal(status.HTTP_401_UNAUTHORIZED, "Inactive user", error="invalid_token")
    return current_user


def get_current_client(scopes: SecurityScopes, token: Annotated[str, Depends(client_flow)]) -> Client:
    claims = claims_of(token, scopes)
    if "preferred_username" in claims or claims["sub"] != claims["client_id"]:
        raise refusal(status.HTTP_403_FORBIDDEN, "This is for programs", error="insufficient_scope")
    if is_revoked(claims):
        raise refusal(status.HTTP_401_UNAUTHORIZED, "Inactive client", error="invalid_token")
    return Client(id=claims["client_id"], scopes=claims.get("scope", "").split())


def role(name: str):
    """The dependency: a user who holds this role."""

    def holder(current_user: Annotated[User, Security(get_current_active_user)]) -> User:
        if name not in current_user.roles:
            raise HTTPException(status.HTTP_403_FORBIDDEN, f"This is for the role {name}")
        return current_user

    return holder
