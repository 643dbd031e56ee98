"""Tests against the real rules of grantd, without a mock."""

from datetime import datetime, timedelta, timezone


def bearer(token: str) -> dict:
    return {"Authorization": f"Bearer {token}"}


def test_a_good_token_is_taken(grantd, service):
    answer = service.get("/notes", headers=bearer(grantd.token("alice")))

    assert answer.status_code == 200
    assert answer.json() == {"notes": ["the first note of alice"]}


def test_no_token_and_a_changed_one_are_refused(grantd, service):
    head, body, signature = grantd.token("alice").split(".")
    changed = f"{head}.{body[:-4]}AAAA.{signature}"

    assert service.get("/notes").status_code == 401
    assert service.get("/notes", headers=bearer(changed)).status_code == 401


def test_an_expired_token_is_refused(grantd, service):
    with grantd.at(datetime.now(timezone.utc) - timedelta(hours=1)):
        expired = grantd.token("alice")

    assert service.get("/notes", headers=bearer(expired)).status_code == 401
    assert service.get("/notes", headers=bearer(grantd.token("alice"))).status_code == 200


def test_a_token_without_the_scope_is_refused(grantd, service):
    readers = grantd.token("alice", scope="notes:read")

    assert service.get("/notes", headers=bearer(readers)).status_code == 200
    assert service.post("/notes", headers=bearer(readers)).status_code == 403


def test_a_token_of_a_program_is_refused(grantd, service):
    program = grantd.ask("nightly", grant_type="client_credentials").raise_for_status().json()["access_token"]

    assert service.get("/notes", headers=bearer(program)).status_code == 403


def test_a_scope_of_a_role_reaches_its_holders_only(grantd, service):
    editor = service.post("/notes", headers=bearer(grantd.token("alice")))
    other = service.post("/notes", headers=bearer(grantd.token("bob")))

    assert (editor.status_code, editor.json()["roles"]) == (200, ["editor"])
    assert other.status_code == 403


def test_a_disabled_user_gets_no_token(grantd):
    assert grantd.login("carol").json()["error"] == "invalid_grant"

    refresh_token = grantd.login("bob").json()["refresh_token"]
    grantd.run("user", "disable", "bob")
    try:
        assert grantd.login("bob").json()["error"] == "invalid_grant"
        refused = grantd.ask("notes-app", grant_type="refresh_token", refresh_token=refresh_token)
        assert refused.json()["error"] == "invalid_grant"
    finally:
        grantd.run("user", "enable", "bob")
    assert grantd.login("bob").status_code == 200


def test_whoever_was_away_for_two_weeks_logs_in_again(grantd):
    refresh_token = grantd.login("alice").json()["refresh_token"]

    with grantd.later("13d"):
        answer = grantd.ask("notes-app", grant_type="refresh_token", refresh_token=refresh_token)
        assert answer.status_code == 200
        with grantd.later("15d"):
            refused = grantd.ask("notes-app", grant_type="refresh_token", refresh_token=answer.json()["refresh_token"])
            assert refused.json()["error"] == "invalid_grant"
