"""A service behind grantd: who is asking, notes for those who may read them, and more for editors."""

import os

from fastapi import Depends, FastAPI

from grantd_validator import Validator

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:8080")
validator = Validator(ISSUER, os.environ.get("AUDIENCE", ISSUER), fail_open=os.environ.get("FAIL_OPEN") == "true")
app = FastAPI()


@app.get("/me")
async def me(token=Depends(validator.needs())):
    return {"sub": token["sub"], "client_id": token["client_id"], "scope": token.get("scope", "")}


@app.get("/notes")
async def notes(token=Depends(validator.needs("notes:read"))):
    return {"notes": [f"the first note of {token['sub']}"]}


@app.get("/drafts")
async def drafts(token=Depends(validator.needs("notes:write", roles=("editor",)))):
    return {"drafts": [f"the first draft of {token['sub']}"]}
