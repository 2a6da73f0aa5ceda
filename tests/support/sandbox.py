"""Drive the provider simulator from a test: its process, its admin plane, and a plain client for its wire.

Nothing here comes from the product: the standard library speaks to the sandbox, so that a mistake in our own
clients cannot hide one in the sandbox.
"""

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from tests.support.ahasend import AHASEND_ACCOUNT, AHASEND_KEY, AhaSendAdmin

ROOT = Path(__file__).resolve().parents[2]
KEY = "sandbox-key-global"
EU_KEY = "sandbox-key-eu"
ADMIN_KEY = "sandbox-admin"
START_SECONDS = 60
# No environment proxy between a test and its own machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers.items() if known.lower() == name.lower()), None)


class SandboxAdmin:
    """The admin plane, one method per call. Times go in as ISO text; see portal/sandbox/README.md."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url, self.key = base_url, key

    def call(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - our own loopback URL
            f"{self.base_url}/_admin/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Sandbox-Admin": self.key},
        )
        try:
            with OPENER.open(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} /_admin/{path}: {error.code} {error.read().decode()}") from error

    # The clock.
    def move_clock(self, *, seconds: float) -> str:
        return str(self.call("POST", "clock", {"advance_seconds": seconds})["now"])

    def set_clock(self, iso: str, *, frozen: bool = True) -> str:
        return str(self.call("POST", "clock", {"set": iso, "frozen": frozen})["now"])

    def now(self) -> str:
        return str(self.call("GET", "clock")["now"])

    # What goes wrong.
    def arm(
        self,
        fault: str,
        operation: str | None = None,
        count: int | None = 1,
        *,
        probability: float | None = None,
        after: int = 0,
        email: str | None = None,
        **params: object,
    ) -> int:
        """Arm a fault, once unless told otherwise; `count=None` means every time, or by `probability`."""
        body = {
            "name": fault,
            "operation": operation,
            "count": None if probability is not None else count,
            "probability": probability,
            "after": after,
            "email": email,
            "params": params,
        }
        return int(self.call("POST", "faults", body)["id"])

    def faults(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "faults")["faults"])

    def clear_faults(self) -> None:
        self.call("DELETE", "faults")

    def switch(self, name: str, value: object) -> None:
        self.call("PUT", "switches", {name: value})

    # Organisations, keys, the catalogue.
    def add_organisation(self, name: str, **fields: object) -> dict[str, Any]:
        return dict(self.call("POST", "organisations", {"id": name, **fields}))

    def organisations(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "organisations")["organisations"])

    def add_key(self, **fields: object) -> str:
        """`organisation`, `region`, `reseller=False`, `missing_scopes=[...]`, `key`; returns the key."""
        return str(self.call("POST", "keys", fields)["key"])

    def revoke_key(self, key: str) -> None:
        self.call("POST", "keys/revoke", {"key": key})

    def put_offering(self, name: str, **fields: object) -> None:
        self.call("PUT", "catalogue", {"name": name, **fields})

    # Accounts and what they send.
    def accounts(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "accounts")["accounts"])

    def account(self, account_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"accounts/{quote(account_id)}"))

    def add_account(self, **fields: object) -> dict[str, Any]:
        """An account nobody asked the API for, as from the provider's console."""
        return dict(self.call("POST", "accounts", fields))

    def add_accounts(self, accounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return list(self.call("POST", "accounts", {"accounts": accounts})["accounts"])

    def change_account(self, account_id: str, **fields: object) -> dict[str, Any]:
        return dict(self.call("PATCH", f"accounts/{quote(account_id)}", fields))

    def delete_account(self, account_id: str) -> None:
        self.call("DELETE", f"accounts/{quote(account_id)}")

    def set_state(self, account_id: str, state: str, *, at: str | None = None) -> None:
        self.change_account(account_id, state=state, at=at)

    def set_sending(self, account_id: str, *, at: str | None = None, **profile: object) -> None:
        """`per_day`, `weekday` (seven factors, Monday first), `growth_per_month`, `jitter`, `seed`."""
        self.change_account(account_id, sending=profile, at=at)

    def add_usage(self, account_id: str, requests: int, *, at: str | None = None) -> None:
        self.call("POST", f"accounts/{quote(account_id)}/usage", {"requests": requests, "at": at})

    # Looking back.
    def truth(self, account: str | None = None, *, days: bool = False) -> list[dict[str, Any]]:
        query = {**({"account": account} if account else {}), **({"days": "1"} if days else {})}
        return list(self.call("GET", f"truth?{urlencode(query)}")["accounts"])

    def requests(self, operation: str = "", *, since: int = 0) -> list[dict[str, Any]]:
        query = urlencode({"operation": operation, "since": since})
        return list(self.call("GET", f"requests?{query}")["requests"])

    def clear_requests(self) -> None:
        self.call("DELETE", "requests")

    @property
    def aha(self) -> AhaSendAdmin:
        """AhaSend's parents, sub accounts, keys and domains."""
        return AhaSendAdmin(self.call)

    def reset(self) -> None:
        """Back to the start: no accounts, no faults, switches and clock as they were, the same keys."""
        self.call("POST", "reset")


class SandboxClient:
    """A client with no opinions: it sends what it is told and hands back what came."""

    def __init__(self, base_url: str, key: str | None, *, timeout: float = 10) -> None:
        self.base_url, self.key, self.timeout = base_url, key, timeout

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        given = {"Authorization": f"Bearer {self.key}"} if self.key is not None else {}
        payload = None
        if form is not None:
            payload = urlencode(form).encode()
            given["Content-Type"] = "application/x-www-form-urlencoded"
        elif body is not None:
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            given["Content-Type"] = "application/json"
        base = urlsplit(self.base_url)
        connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=self.timeout)
        try:
            connection.request(method, base.path + path, payload, {**given, **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def create(self, *, email: str | None = "ops@northwind.test", package: str = "pro-100k", **more: Any) -> Answer:
        profile = {"email": email} if email is not None else {}
        offerings = [{"name": f"postkeeper.ei.{package}.v1", "type": "package", "quantity": 1}]
        return self.send("POST", "/v3/partners/accounts", {"profile": profile, "offerings": offerings}, **more)

    def behalf(self, path: str, account_id: str) -> Answer:
        return self.send("GET", path, headers={"on-behalf-of": f"account-id {account_id}"})


class AhaSendClient(SandboxClient):
    """The same with an AhaSend key and the account it belongs to, a parent or a sub account."""

    def __init__(self, base_url: str, key: str | None, account: str) -> None:
        super().__init__(base_url, key)
        self.account = account

    def own(self, path: str = "") -> str:
        return f"/v2/accounts/{self.account}{path}"

    def child(self, account_id: str = "", path: str = "") -> str:
        """The path of the sub accounts, of one of them, or of something of it."""
        return self.own(f"/sub-accounts{'/' if account_id else ''}{account_id}{path}")

    def create_child(self, name: str = "Northwind Oy", *, key: str | None = None, **more: object) -> Answer:
        headers = {"Idempotency-Key": key} if key else {}
        return self.send("POST", self.child(), {"name": name, "website": "northwind.test", **more}, headers=headers)

    def create_key(self, account_id: str, label: str = "portal", *, key: str | None = None, **more: object) -> Answer:
        body = {"label": label, "scopes": ["messages:send:all", "domains:read"], **more}
        headers = {"Idempotency-Key": key} if key else {}
        return self.send("POST", self.child(account_id, "/api-keys"), body, headers=headers)


class SandboxProcess:
    """`with SandboxProcess() as sandbox:` — the simulator on a free port, ended by its own pid."""

    def __init__(self, *arguments: str, data: Path | None = None) -> None:
        self.arguments = arguments
        self.data = data
        self.key, self.eu_key, self.admin_key = KEY, EU_KEY, ADMIN_KEY
        self.ahasend_key, self.ahasend_account = AHASEND_KEY, AHASEND_ACCOUNT
        self.base_url = ""
        self.greeting: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def admin(self) -> SandboxAdmin:
        return SandboxAdmin(self.base_url, self.admin_key)

    @property
    def client(self) -> SandboxClient:
        return SandboxClient(self.base_url, self.key)

    @property
    def eu_client(self) -> SandboxClient:
        return SandboxClient(self.base_url, self.eu_key)

    @property
    def ahasend(self) -> AhaSendClient:
        """A client with the parent's key."""
        return AhaSendClient(self.base_url, self.ahasend_key, self.ahasend_account)

    def start(self, port: int = 0) -> None:
        if self.data is None:
            self._folder = tempfile.TemporaryDirectory(prefix="sandbox-")
            self.data = Path(self._folder.name) / "sandbox.sqlite3"
        keys = ["--sendgrid-key", KEY, "--sendgrid-eu-key", EU_KEY, "--admin-key", ADMIN_KEY]
        keys += ["--ahasend-key", AHASEND_KEY, "--ahasend-account", AHASEND_ACCOUNT]
        command = [sys.executable, "-m", "portal.sandbox", "--port", str(port), "--data", str(self.data)]
        self._process = subprocess.Popen(
            [*command, *keys, *self.arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        # A sandbox that never gets ready is ended, and readline below then sees the end of its output.
        watchdog = threading.Timer(START_SECONDS, self._process.kill)
        watchdog.start()
        try:
            self._wait_until_ready(self._process)
        finally:
            watchdog.cancel()

    def stop(self) -> int:
        """Terminate and return the exit status; the data of a given file stays."""
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder, self.data = None, None
        return status

    def _wait_until_ready(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.greeting = []
        for line in process.stdout:
            self.greeting.append(line.rstrip("\n"))
            if line.startswith("ready "):
                self.base_url = line.split()[1]
                return
        self.stop()
        raise AssertionError(f"the sandbox did not start: {self.greeting}")
