"""A real grantd for these tests: started once in milliseconds, with a clock that tests move, and gone with them.

GRANTD is the binary, if it is not the `grantd` on the PATH. Copy this file into your own tests and write your own seed.
"""

import json
import os
import subprocess
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from service import create_app

BINARY = os.environ.get("GRANTD", "grantd")
SEED = Path(__file__).with_name("seed.toml")


class Grantd:
    """A running server and what it was seeded with."""

    def __init__(self, ready: dict):
        self.issuer = ready["issuer"]
        self.environment = ready["environment"]
        self._clock = ready["clock"]
        self._secrets = {client["client_id"]: client.get("client_secret", "") for client in ready["clients"]}
        self._passwords = {user["username"]: user["password"] for user in ready["users"]}

    def ask(self, client: str, **form: str) -> httpx.Response:
        """A request to the token endpoint."""
        return httpx.post(f"{self.issuer}/token", auth=(client, self._secrets[client]), data=form)

    def login(self, username: str, scope: str = "", client: str = "notes-app") -> httpx.Response:
        """A login with the password of the seed."""
        form = {"grant_type": "password", "username": username, "password": self._passwords[username]}
        return self.ask(client, **form, scope=scope)

    def token(self, username: str, scope: str = "") -> str:
        """An access token of a seeded user."""
        return self.login(username, scope).raise_for_status().json()["access_token"]

    def run(self, *arguments: str) -> None:
        """A command of grantd's, such as ("user", "disable", "bob"), on this server."""
        subprocess.run([BINARY, *arguments], env={**os.environ, **self.environment}, check=True, capture_output=True)

    @contextmanager
    def at(self, time: datetime):
        """What grantd issues in here is issued at that time: services check `exp` by their own clock."""
        yield from self._moved(now=time.isoformat())

    @contextmanager
    def later(self, by: str):
        """In here so much time has passed at grantd, such as "15d"."""
        yield from self._moved(advance=by)

    def _moved(self, **how: str):
        httpx.post(self._clock, data=how).raise_for_status()
        try:
            yield
        finally:
            httpx.post(self._clock, data={"now": datetime.now(timezone.utc).isoformat()}).raise_for_status()


@pytest.fixture(scope="session")
def grantd():
    command = [BINARY, "dev", "--seed", str(SEED), "--port", "0", "--json", "--clock-control", "--exit-with-parent"]
    # Nothing is written to stdin: it closes when this process ends, however it ends, and the server goes with it.
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, text=True) as server:
        ready = server.stdout.readline()
        assert ready, f"{' '.join(command)} did not start: run it by hand to see why"
        yield Grantd(json.loads(ready))
        server.terminate()


@pytest.fixture(scope="session")
def service(grantd):
    return TestClient(create_app(grantd.issuer))
