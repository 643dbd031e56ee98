"""The service under test: notes for whoever has a token with the right scope."""

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

REQUIRED = ["iss", "exp", "aud", "sub", "client_id", "iat", "jti"]  # RFC 9068 section 2.2
bearer = HTTPBearer(auto_error=False)


def create_app(issuer: str) -> FastAPI:
    app, keys = FastAPI(), jwt.PyJWKClient(f"{issuer}/.well-known/jwks.json")

    def refuse(status: int, error: str):
        raise HTTPException(status, error, {"WWW-Authenticate": f'Bearer error="{error}"'})

    def needs(scope: str):
        def claims(sent: HTTPAuthorizationCredentials | None = Depends(bearer)) -> dict:
            try:
                token = sent.credentials if sent else ""
                key = keys.get_signing_key_from_jwt(token)
                decoded = jwt.decode_complete(
                    token, key, ["ES256"], {"require": REQUIRED}, issuer=issuer, audience=issuer
                )
                found = decoded["payload"]
                # RFC 9068 section 4: another JWT of the same issuer is no access token. And one with `cnf` is bound to a key
                # (RFC 9449): who sends it as a bearer token may have stolen it.
                if decoded["header"].get("typ") != "at+jwt" or "cnf" in found:
                    raise jwt.InvalidTokenError("it is no bearer token")
            except jwt.PyJWTError:
                refuse(401, "invalid_token")
            # Only a token that stands for a person has a name; notes are not for programs that call for themselves.
            if scope not in found.get("scope", "").split() or "preferred_username" not in found:
                refuse(403, "insufficient_scope")
            return found

        return claims

    @app.get("/notes")
    def notes(claims: dict = Depends(needs("notes:read"))):
        return {"notes": [f"the first note of {claims['preferred_username']}"]}

    @app.post("/notes")
    def write(claims: dict = Depends(needs("notes:write"))):
        return {"written_by": claims["preferred_username"], "roles": claims.get("roles", [])}

    return app
