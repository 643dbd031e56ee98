# pip install fastapi uvicorn "pyjwt[crypto]"; save as service.py; start with: uvicorn service:app --port 9000
import jwt
from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

{% include "snippets/check.py" %}


app = FastAPI()


@app.exception_handler(Refused)
def refuse(request, refused):
    return JSONResponse({"error": refused.error}, refused.status, refused.headers)


def needs(scope=""):
    def claims(bearer=Depends(HTTPBearer(auto_error=False))):  # no `async`: fetching keys would block all others
        return check(bearer and f"{bearer.scheme} {bearer.credentials}", scope)

    return claims


@app.get("/me")
def me(claims=Depends(needs({{ self.0.scope }}))):
    return {"sub": claims["sub"], "scope": claims.get("scope", "")}
