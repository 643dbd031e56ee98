"""A FastAPI dependency that takes access tokens of one grantd: RFC 9068 section 4, and the Token Status List.

It asks grantd nothing for a request: metadata, keys and status lists are fetched once for all requests and kept as long
as grantd says. Must not know what the service does. The steps have the numbers of ../README.md.
"""

import asyncio
import base64
import logging
import re
import time
import zlib
from urllib.parse import urlsplit

import httpx
import jwt
from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

log = logging.getLogger(__name__)

# RFC 8725 section 3.1: signatures by keys that stay with the issuer, and nothing else; each key names its own.
ALGORITHMS = {"ES256", "ES384", "RS256", "PS256", "EdDSA"}
CLAIMS = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]  # RFC 9068 section 2.2
LEEWAY = 5  # seconds that the clocks may differ
TIMEOUT = 3  # seconds that a document may take
PAUSE = 5  # seconds without asking again: after a failure, and after a kid that nobody knew
STALE_KEYS = 3600  # seconds beyond their max-age that keys are good for, if no newer ones can be had
LARGEST_LIST = 1 << 20  # bytes of a status list when it is unpacked; grantd's have 1 << 17

bearer = HTTPBearer(auto_error=False, description="An access token of grantd")


class Unavailable(Exception):
    """Nobody can say now whether the token is good."""


WRONG = (jwt.PyJWTError, zlib.error, LookupError, TypeError, ValueError, RecursionError)


class Document:
    """Something that is fetched: once for all who want it, and kept while it is fresh, or good for want of newer."""

    def __init__(self, fetch):
        self._fetch = fetch  # gives (value, seconds it is fresh, seconds it is good)
        self._lock = asyncio.Lock()
        self._value, self._fresh_until, self._good_until = None, 0.0, 0.0
        self._failing, self._retry_at, self._searched_at = False, 0.0, -PAUSE

    def _lacks(self, wanted):
        return wanted is not None and self._value is not None and wanted not in self._value

    def _due(self, wanted):
        now = time.monotonic()
        search = self._lacks(wanted) and now >= self._searched_at + PAUSE
        return now >= self._retry_at and (now >= self._fresh_until or search)

    async def get(self, wanted=None):
        """The value, fetched anew where it lacks what is `wanted`; seldom, for a stranger may have invented that."""
        fetching = self._lock.locked()
        # While somebody tries whether it can be had again, the others need not wait for what may not come.
        if not (fetching and self._failing) and (self._due(wanted) or fetching and self._lacks(wanted)):
            async with self._lock:
                if self._due(wanted):
                    await self._refetch()
        if time.monotonic() >= self._good_until:
            raise Unavailable
        return self._value

    async def _refetch(self):
        asked_at = time.monotonic()
        if asked_at < self._fresh_until:
            self._searched_at = asked_at
        try:
            self._value, fresh, good = await asyncio.wait_for(self._fetch(), TIMEOUT)
            self._fresh_until, self._good_until, self._failing = asked_at + fresh, asked_at + good, False
        except (httpx.HTTPError, TimeoutError, Unavailable, *WRONG) as error:
            self._failing, self._retry_at = True, time.monotonic() + PAUSE
            log.warning("a document of the issuer cannot be had: %r", error)


class Validator:
    """Takes tokens of `issuer` for `audience`. Where no status list can be had, `fail_open` takes what may be revoked."""

    def __init__(self, issuer: str, audience: str, fail_open: bool = False):
        if not issuer.startswith(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]")):
            raise ValueError("the issuer must be https, except on this machine")
        self.issuer, self.audience, self.fail_open = issuer, audience, fail_open
        # A redirect would lead to addresses of somebody else's choice; httpx follows none.
        self._http = httpx.AsyncClient(timeout=TIMEOUT)
        self._metadata, self._keys = Document(self._fetch_metadata), Document(self._fetch_keys)
        self._lists = {}

    def needs(self, *scope: str, roles: tuple[str, ...] = ()):
        """The dependency: gives the claims of a good token that has every one of these."""

        async def claims(sent: HTTPAuthorizationCredentials | None = Depends(bearer)) -> dict:
            if sent is None:
                raise self._refusal(401)  # RFC 6750 section 3.1: no error code for who sent nothing
            try:
                token = await self.check(sent.credentials)
            except WRONG as error:
                log.info("token refused: %r", error)  # why, for you and not for who sent it
                raise self._refusal(401, "invalid_token", "The token is not good here, or not any more") from None
            except Unavailable:
                raise HTTPException(503, "Tokens cannot be checked now", {"Retry-After": str(PAUSE)}) from None
            held, held_roles = token.get("scope", "").split(), token.get("roles", [])
            if not set(scope) <= set(held) or not set(roles) <= set(held_roles):
                raise self._refusal(403, "insufficient_scope", "The token does not allow this", " ".join(scope))
            return token

        return claims

    def _refusal(self, status, error="", description="", scope=""):
        """RFC 6750 section 3."""
        members = {"realm": self.audience, "error": error, "error_description": description, "scope": scope}
        members = ", ".join(f'{name}="{value}"' for name, value in members.items() if value)
        return HTTPException(status, description or "A token is needed", {"WWW-Authenticate": f"Bearer {members}"})

    async def check(self, token: str) -> dict:
        """The claims of a good token."""
        claims = await self._verify(token, "at+jwt", CLAIMS, self.audience)
        if not isinstance(claims["client_id"], str):
            raise ValueError("its client_id is no string")
        # Step 7. RFC 9449 section 7.2: bound to a key; who presents it as a bearer token may be a thief.
        if "cnf" in claims:
            raise ValueError("it is bound to a key, and this service checks no proofs")
        if "status" in claims:
            await self._check_status(claims["status"])
        return claims

    async def _verify(self, token, typ, required, audience=None):
        """Steps 3 to 6: signature, type and claims of a JWT of this issuer."""
        header = jwt.get_unverified_header(token)
        if str(header.get("typ")).lower() not in (typ, f"application/{typ}"):
            raise ValueError(f"its typ is {header.get('typ')!r}")
        kid = str(header.get("kid"))
        key = (await self._keys.get(wanted=kid)).get(kid)
        if key is None:
            raise ValueError(f"no key {kid!r} is known")
        return jwt.decode(token, key, algorithms=[key.algorithm_name], issuer=self.issuer, audience=audience,
                          leeway=LEEWAY, options={"require": required})

    async def _check_status(self, status):
        """Steps 8 to 11."""
        idx, uri = int(status["status_list"]["idx"]), str(status["status_list"]["uri"])
        if not uri.startswith(f"{self.issuer}/") or idx < 0:
            raise ValueError("its status is at no address of the issuer")
        try:
            bits, packed = await self._lists.setdefault(uri, Document(lambda: self._fetch_list(uri))).get()
        except Unavailable:
            if self.fail_open:
                return
            raise
        byte, shift = divmod(idx * bits, 8)  # the first is in the least significant bits of the first byte
        if byte >= len(packed) or packed[byte] >> shift & ((1 << bits) - 1) != 0:
            raise ValueError("it is revoked")

    async def _fetch(self, url, accept="application/json"):
        return (await self._http.get(url, headers={"Accept": accept})).raise_for_status()

    async def _fetch_metadata(self):
        """Step 1. RFC 8414 section 3.1: the well-known path stands between host and path of the issuer."""
        url = urlsplit(self.issuer)
        path = f"/.well-known/oauth-authorization-server{url.path}"
        metadata = (await self._fetch(url._replace(path=path).geturl())).json()
        if metadata["issuer"] != self.issuer:
            raise ValueError(f"the metadata is that of {metadata['issuer']!r}")
        if not metadata["jwks_uri"].startswith(("https://", f"{self.issuer}/")):
            raise ValueError("the keys are at an address without TLS")
        return metadata, float("inf"), float("inf")

    async def _fetch_keys(self):
        """Step 2."""
        response = await self._fetch((await self._metadata.get())["jwks_uri"])
        keys = {key["kid"]: jwt.PyJWK(key) for key in response.json()["keys"] if key.get("alg") in ALGORITHMS}
        fresh = re.search(r"max-age=(\d+)", response.headers.get("Cache-Control", ""))
        fresh = max(int(fresh[1]) - age(response), 1) if fresh else 60
        return keys, fresh, fresh + STALE_KEYS

    async def _fetch_list(self, uri):
        """Steps 9 and 10: the bits of a status list, and how many a token has."""
        response = await self._fetch(uri, "application/statuslist+jwt")
        claims = await self._verify(response.text, "statuslist+jwt", ["sub", "iat", "exp"])
        bits, lst = claims["status_list"]["bits"], claims["status_list"]["lst"]
        if claims["sub"] != uri or bits not in (1, 2, 4, 8):
            raise ValueError("it is another list")
        unpack = zlib.decompressobj()
        packed = unpack.decompress(base64.urlsafe_b64decode(lst + "=" * (-len(lst) % 4)), LARGEST_LIST)
        if not unpack.eof:
            raise ValueError("it is too long, or cut off")
        fresh = max(claims.get("ttl", 60) - age(response), 1)
        return (bits, packed), fresh, max(claims["exp"] + LEEWAY - time.time(), fresh)


def age(response):
    """How long a cache on the way has kept it already, in seconds."""
    return int(response.headers.get("Age", 0))
