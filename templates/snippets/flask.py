# pip install flask "pyjwt[crypto]"; save as service.py; start with: flask --app service run --port 9000
import jwt
from flask import Flask, request

{% include "snippets/check.py" %}


app = Flask(__name__)


@app.errorhandler(Refused)
def refuse(refused):
    return {"error": refused.error}, refused.status, refused.headers


@app.get("/me")
def me():
    claims = check(request.headers.get("Authorization"), {{ self.0.scope }})
    return {"sub": claims["sub"], "scope": claims.get("scope", "")}
