"""Usage answers of the provider's API, read without an opinion."""

from typing import Any

from tests.support.sandbox import SandboxClient, SandboxProcess


def credits_of(client: SandboxClient, account: str) -> dict[str, Any]:
    return dict(client.behalf("/v3/user/credits", account).json)


def requests_by_date(client: SandboxClient, account: str, query: str) -> dict[str, int]:
    rows = client.behalf(f"/v3/stats?{query}", account).json
    return {row["date"]: row["stats"][0]["metrics"]["requests"] for row in rows}


def overview(sandbox: SandboxProcess, username: str = "ops@northwind.test") -> dict[str, Any]:
    form = {"api_user": "apikey", "api_key": sandbox.key, "task": "overview", "user": username}
    return dict(sandbox.client.send("POST", "/apiv2/reseller.account.json", form=form).json)
