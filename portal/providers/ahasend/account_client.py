"""AhaSend client with an account's own key: sending domains, and a test message.

On ordinary routes the account is in the path (contract). The keys of a suspended account are rejected with 401
(documented), which does not concern the connection's key: here every 401 is a `KeyRefused`.
"""

from __future__ import annotations

from urllib.parse import quote

from portal.providers.base import Created, IdempotentBody
from portal.providers.calls import Answer, Call
from portal.providers.errors import KeyRefused, Unauthorized
from portal.providers.http import Http
from portal.providers.key_types import Domain, MessageReading, TestMessage

from . import parsing, payloads

PAGE, PAGES = 100, 50


class AhaSendSending:
    """Implementation of `portal.providers.provider.Sending`."""

    def __init__(self, http: Http, account_id: str) -> None:
        self._http, self._base = http, f"/v2/accounts/{account_id}"

    def domains(self) -> list[Domain]:
        found: list[Domain] = []
        cursor = ""
        for _ in range(PAGES):
            query = {"limit": str(PAGE)} | ({"after": cursor} if cursor else {})
            answer = self._call(Call("GET", f"{self._base}/domains", "domains.list", query=query))
            rows, cursor = parsing.page(answer)
            found += [parsing.domain(answer, row) for row in rows]
            if not cursor:
                return found
        raise answer.unusable("AhaSend's list of domains does not end.")

    def domain(self, name: str) -> Domain:
        answer = self._call(Call("GET", self._path(name), "domains.read"))
        return parsing.domain(answer, answer.json())

    def domain_body(self, name: str) -> str:
        return payloads.domain_body(name)

    def add_domain(self, once: IdempotentBody) -> Domain:
        answer = self._call(_keyed(f"{self._base}/domains", "domains.create", 201, once))
        return parsing.domain(answer, answer.json())

    def check_dns(self, name: str) -> Domain:
        answer = self._call(Call("POST", self._path(name, "/check-dns"), "domains.check", changes=True))
        return parsing.domain(answer, answer.json())

    def message_body(self, message: TestMessage) -> str:
        return payloads.message_body(message)

    def send_message(self, once: IdempotentBody) -> Created:
        return parsing.sent(self._call(_keyed(f"{self._base}/messages", "messages.send", 202, once)))

    def message(self, message_id: str) -> MessageReading:
        path = f"{self._base}/messages/{quote(message_id, safe='')}"
        return parsing.message(self._call(Call("GET", path, "messages.read")))

    def _path(self, name: str, rest: str = "") -> str:
        if not payloads.is_host(name):
            raise payloads.refused("A domain is a name such as mail.example.com.", "name")
        return f"{self._base}/domains/{name.lower()}{rest}"

    def _call(self, call: Call) -> Answer:
        try:
            return self._http.call(call)
        except Unauthorized as error:
            raise KeyRefused(
                "AhaSend refused the account's own key (401): it is revoked, or the account is suspended.",
                field_errors=error.field_errors,
                evidence=error.evidence,
            ) from None


def _keyed(path: str, endpoint: str, expect: int, once: IdempotentBody) -> Call:
    headers = {"Idempotency-Key": once.key}
    return Call("POST", path, endpoint, expect, changes=True, headers=headers, text=once.body)
