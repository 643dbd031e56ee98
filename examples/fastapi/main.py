"""A service in the shape of the FastAPI tutorial, with grantd in place of its users table, hashes and signing secret."""

import os
from typing import Annotated

from fastapi import HTTPException, Security, status
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi_offline import FastAPIOffline

from security import Client, User, get_current_active_user, get_current_client, role

# FastAPI loads Swagger UI from a CDN. People type passwords into that page, so that it has its files from here.
app = FastAPIOffline(
    title="Items",
    docs_url=None,
    redoc_url=None,
    swagger_ui_init_oauth={"clientId": os.environ.get("DOCS_CLIENT_ID", "items-docs"), "appName": "Items"},
)


@app.get("/docs", include_in_schema=False)
def docs():
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title=app.title,
        swagger_js_url="static-offline-docs/swagger-ui-bundle.js",
        swagger_css_url="static-offline-docs/swagger-ui.css",
        swagger_favicon_url="static-offline-docs/favicon.png",
        init_oauth=app.swagger_ui_init_oauth,
    )


@app.get("/status")
def read_system_status():
    """For everybody."""
    return {"status": "ok"}


@app.get("/users/me")
def read_users_me(current_user: Annotated[User, Security(get_current_active_user, scopes=["me"])]) -> User:
    """Who is logged in."""
    return current_user


@app.get("/users/me/items")
def read_own_items(current_user: Annotated[User, Security(get_current_active_user, scopes=["items"])]):
    return [{"item_id": "Foo", "owner": current_user.username}]


@app.get("/profile/{user_id}")
def read_profile(user_id: str, current_user: Annotated[User, Security(get_current_active_user, scopes=["me"])]):
    """Of oneself only."""
    # One answer for another's profile and for none, so that nobody finds out which ids there are.
    if user_id != current_user.id:
        raise HTTPException(status.HTTP_403_FORBIDDEN, "This is another's profile")
    return {"id": user_id, "username": current_user.username}


@app.get("/admin/overview")
def read_overview(admin: Annotated[User, Security(role("admin"), scopes=["admin"])]):
    """For the role admin, which alone has the scope admin."""
    return {"read_by": admin.username, "items": 1}


@app.post("/jobs/nightly", status_code=status.HTTP_202_ACCEPTED)
def start_job(client: Annotated[Client, Security(get_current_client, scopes=["jobs"])]):
    """For programs, with client credentials."""
    return {"started_by": client.id}
