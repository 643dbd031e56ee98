"""The service under test: notes for whoever has a token with the right scope."""

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

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
                found = jwt.decode(token, key, algorithms=["ES256"], issuer=issuer, audience=issuer)
            except jwt.PyJWTError:
                refuse(401, "invalid_token")
            if scope not in found.get("scope", "").split():
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
