"""Settings of single sign-on: read from the environment, and refused with a sentence that names the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.test_deploy import PRODUCTION, _run, _settings

NAMES = "OIDC_ISSUER OIDC_NAME OIDC_SCOPES OIDC_GROUPS_CLAIM OIDC_ROLES OIDC_SECOND_FACTOR OIDC_CREATE OIDC_ONLY"
GIVEN = {"OIDC_ISSUER": "https://id.example.com/realm", "OIDC_CLIENT_ID": "postkeeper", "OIDC_CLIENT_SECRET": "made-up"}


def test_without_an_issuer_there_is_none() -> None:
    assert _settings(NAMES) == {
        "OIDC_ISSUER": "", "OIDC_NAME": "single sign-on", "OIDC_SCOPES": ["openid", "email", "profile"],
        "OIDC_GROUPS_CLAIM": "groups", "OIDC_ROLES": [], "OIDC_SECOND_FACTOR": ["mfa"], "OIDC_CREATE": False,
        "OIDC_ONLY": True,
    }  # fmt: skip


def test_roles_are_read_in_their_order() -> None:
    roles = "CN=pk-admins=admin, pk cs = customer_success,x=auditor"
    assert _settings("OIDC_ROLES", **GIVEN, OIDC_ROLES=roles)["OIDC_ROLES"] == [
        ["CN=pk-admins", "admin"], ["pk cs", "customer_success"], ["x", "auditor"],
    ]  # fmt: skip


def test_the_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from-a-file\n")
    file.chmod(0o600)
    given = {name: value for name, value in GIVEN.items() if name != "OIDC_CLIENT_SECRET"}
    found = _settings("OIDC_CLIENT_SECRET", **given, OIDC_CLIENT_SECRET_FILE=str(file))
    assert found == {"OIDC_CLIENT_SECRET": "from-a-file"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"OIDC_ISSUER": "http://id.example.com"}, "It must begin with https://."),
        ({"OIDC_ISSUER": "http://127.0.0.1:9400"}, "It must begin with https://."),
        ({"OIDC_ISSUER": "id.example.com"}, "Set it to the issuer of the provider"),
        ({"OIDC_ISSUER": "https://id.example.com/?x=1"}, "Set it to the issuer of the provider"),
        ({"OIDC_ISSUER": "https://me@id.example.com/"}, "Set it to the issuer of the provider"),
        ({"OIDC_ISSUER": "https://[::1"}, "Set it to the issuer of the provider"),
        ({"OIDC_ISSUER": "https://id.example.com/" + "x" * 200}, "Set it to the issuer of the provider"),
        ({"OIDC_CLIENT_ID": ""}, "OIDC_CLIENT_ID is not set"),
        ({"OIDC_CLIENT_SECRET": ""}, "OIDC_CLIENT_SECRET is not set"),
        ({"OIDC_ROLES": "pk-admins=root"}, 'OIDC_ROLES contains "pk-admins=root"'),
        ({"OIDC_ROLES": "admin"}, 'OIDC_ROLES contains "admin"'),
        ({"OIDC_ROLES": "=admin"}, 'OIDC_ROLES contains "=admin"'),
        ({"OIDC_SCOPES": "email"}, "OIDC_SCOPES does not contain openid"),
        ({"OIDC_ROLES": "x=admin", "OIDC_ONLY": "0"}, "OIDC_ONLY is off while OIDC_ROLES is set"),
        ({"OIDC_SECOND_FACTOR": "mfa,pwd"}, "OIDC_SECOND_FACTOR contains pwd"),
        ({"OIDC_CREATE": "1"}, "OIDC_CREATE is on while OIDC_ROLES is empty"),
    ],
)
def test_a_wrong_value_stops_the_start(change: dict[str, str], sentence: str) -> None:
    done = _run("manage.py", "check", env={**PRODUCTION, **GIVEN, **change})
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "made-up\n" not in done.stderr


def test_loopback_without_tls_is_for_development_alone() -> None:
    local = {**GIVEN, "OIDC_ISSUER": "http://127.0.0.1:9400", "PORTAL_ENV": "development"}
    assert _settings("OIDC_ISSUER", **local)["OIDC_ISSUER"] == "http://127.0.0.1:9400"
    done = _run("manage.py", "check", env={**PRODUCTION, **local, "OIDC_ISSUER": "http://id.example.com"})
    assert "It must begin with https://." in done.stderr
