"""Operation 6: a sign-in link that works once, for a minute, and says so."""

from urllib.parse import urlsplit

import pytest

from tests.support.sandbox import Answer, SandboxAdmin, SandboxClient, SandboxProcess


def ask(client: SandboxClient, account: str) -> Answer:
    return client.send("POST", f"/v3/partners/accounts/{account}/sso")


def follow(client: SandboxClient, answer: Answer) -> Answer:
    target = urlsplit(answer.header("Location") or "")
    return SandboxClient(client.base_url, None).send("GET", f"{target.path}?{target.query}")


def test_it_is_a_303_to_our_own_login_page_without_a_body(sandbox: SandboxProcess, account: str) -> None:
    answer = ask(sandbox.client, account)
    assert (answer.status, answer.body, answer.header("Content-Type")) == (303, b"", None)
    assert (answer.header("Location") or "").startswith(f"{sandbox.base_url}/_login/{account}?code=")


def test_the_page_says_who_is_signed_in_and_refuses_a_replay(client: SandboxClient, account: str) -> None:
    answer = ask(client, account)
    first, second = follow(client, answer), follow(client, answer)
    assert (first.status, second.status) == (200, 410)
    assert b"signed in as ops@northwind.test" in first.body
    assert b"already been used" in second.body


@pytest.mark.parametrize(("seconds", "status"), [(59, 200), (60, 200), (61, 410)])
def test_a_code_lives_a_minute_of_the_sandboxs_clock(
    client: SandboxClient, admin: SandboxAdmin, account: str, seconds: int, status: int
) -> None:
    admin.set_clock("2026-11-22T10:00:00Z")
    answer = ask(client, account)
    admin.move_clock(seconds=seconds)
    page = follow(client, answer)
    assert page.status == status
    assert (b"expired" in page.body) == (status == 410)


def test_an_account_of_the_future_has_no_sign_in_link(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    link = ask(client, account)
    admin.set_clock("2025-12-31T10:00:00Z")
    answer = ask(client, account)
    assert (answer.status, answer.header("Location")) == (404, None)
    assert follow(client, link).status == 410


@pytest.mark.parametrize("target", ["?", "?code=x", "http://sandbox.example?code=x"])
def test_a_request_without_a_path_is_one_for_the_root(client: SandboxClient, target: str) -> None:
    """What a client sends that follows a `Location` nobody sent."""
    assert client.send("GET", target).status == client.send("GET", "/").status == 404


def test_every_ask_brings_another_code(client: SandboxClient, account: str) -> None:
    first, second = ask(client, account), ask(client, account)
    assert first.header("Location") != second.header("Location")
    assert follow(client, second).status == follow(client, first).status == 200


def test_a_code_is_good_for_its_account_only(client: SandboxClient, account: str) -> None:
    other = client.create(email="it@globex.test").json["account_id"]
    code = (ask(client, account).header("Location") or "").partition("code=")[2]
    assert client.send("GET", f"/_login/{other}?code={code}").status == 410
    assert client.send("GET", f"/_login/{account}?code=guess").status == 410


@pytest.mark.parametrize("state", ["deactivated", "suspended", "banned", "indeterminate"])
def test_an_account_that_is_not_active_is_not_signed_in_to(
    client: SandboxClient, admin: SandboxAdmin, account: str, state: str
) -> None:
    admin.set_state(account, state)
    assert ask(client, account).status == 403
    admin.switch("sso_inactive", "allowed")
    assert ask(client, account).status == 303


def test_codes_are_not_in_the_log(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    code = (ask(client, account).header("Location") or "").partition("code=")[2]
    assert code not in str(admin.requests())
