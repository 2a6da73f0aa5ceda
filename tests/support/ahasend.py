"""The part of the simulator's admin plane that knows AhaSend, and what the tests' parent account is called."""

from collections.abc import Callable
from typing import Any

AHASEND_KEY = "aha-sk-" + "sandbox0" * 8
AHASEND_ACCOUNT = "c0a4f6f2-8f0e-4a3b-8a58-6f6b3d1f2e90"


class AhaSendAdmin:
    """The part of the admin plane that knows AhaSend; `account` is the id of a sub account or of a parent."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def add_parent(self, **fields: object) -> dict[str, Any]:
        """`name`, `website`, `id`; the answer has the `key`."""
        return dict(self._call("POST", "aha/parents", fields))

    def accounts(self, parent: str | None = None) -> list[dict[str, Any]]:
        """The ground truth: every sub account there ever was, deleted ones included."""
        query = f"?parent={parent}" if parent else ""
        return list(self._call("GET", f"aha/accounts{query}")["accounts"])

    def add_account(self, name: str, **fields: object) -> dict[str, Any]:
        """A sub account nobody asked the API for: `website`, `monthly_credit`, `created_at`, `sending`, `status`."""
        return dict(self._call("POST", "aha/accounts", {"name": name, **fields}))

    def add_accounts(self, accounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return list(self._call("POST", "aha/accounts", {"accounts": accounts})["accounts"])

    def change(self, account: str, **fields: object) -> dict[str, Any]:
        """`name`, `website`, `monthly_credit`, `member_count`, `sending`, `status` (any word; of a parent it reaches
        its sub accounts), `at`."""
        return dict(self._call("PATCH", f"aha/accounts/{account}", fields))

    def delete(self, account: str) -> None:
        self._call("DELETE", f"aha/accounts/{account}")

    def add_usage(self, account: str, count: int, *, at: str | None = None) -> None:
        self._call("POST", f"aha/accounts/{account}/usage", {"count": count, "at": at})

    def keys(self, account: str) -> list[dict[str, Any]]:
        """Deleted ones included (`deleted_at`), and no secrets."""
        return list(self._call("GET", f"aha/accounts/{account}/keys")["keys"])

    def add_key(self, account: str, **fields: object) -> str:
        """`scopes` or `missing_scopes`, `ip_allow_list`, `label`, `key`; returns the secret."""
        return str(self._call("POST", f"aha/accounts/{account}/keys", fields)["key"])

    def change_key(self, key_id: str, **fields: object) -> dict[str, Any]:
        """`scopes`, `ip_allow_list`: as it pleases the provider, also for a parent's own key."""
        return dict(self._call("PATCH", f"aha/keys/{key_id}", fields))

    def revoke_key(self, key_id: str) -> None:
        self._call("DELETE", f"aha/keys/{key_id}")

    def domains(self, account: str) -> list[dict[str, Any]]:
        return list(self._call("GET", f"aha/accounts/{account}/domains")["domains"])

    def add_domain(self, account: str, domain: str, *, verified: bool = False) -> dict[str, Any]:
        return dict(self._call("POST", f"aha/accounts/{account}/domains", {"domain": domain, "verified": verified}))

    def publish(self, account: str, domain: str, *labels: str, there: bool = True) -> dict[str, Any]:
        """Put DNS records in place (or take them away): those named by their labels, or all. A check sees them."""
        wanted = dict.fromkeys(labels, there) if labels else there
        return dict(self._call("PATCH", f"aha/accounts/{account}/domains/{domain}", {"in_place": wanted}))

    def pause_domain(self, account: str, domain: str) -> None:
        self._call("PATCH", f"aha/accounts/{account}/domains/{domain}", {"paused": True})

    def messages(self, account: str) -> list[dict[str, Any]]:
        return list(self._call("GET", f"aha/accounts/{account}/messages")["messages"])

    def kept(self) -> list[dict[str, Any]]:
        """What is known under which idempotency key."""
        return list(self._call("GET", "aha/kept")["kept"])

    def truth(self, parent: str = AHASEND_ACCOUNT) -> list[dict[str, Any]]:
        """Every period of a parent, oldest first: the usage answer as it would be, plus each account by itself."""
        return list(self._call("GET", f"aha/truth?parent={parent}")["parents"][0]["periods"])
