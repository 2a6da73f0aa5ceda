"""AhaSend client with an account's own key: sending domains, and a test message.

On ordinary routes the account is in the path (contract). The keys of a suspended account are rejected with 401
(documented), which does not concern the connection's key: here every 401 is a `KeyRefused`.
"""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from urllib.parse import quote

from portal.providers.base import Created, IdempotentBody
from portal.providers.calls import Answer, Call, rows_of_list
from portal.providers.errors import KeyRefused, Unauthorized
from portal.providers.http import Http
from portal.providers.key_types import Domain, MessageReading, TestMessage

from . import parsing, payloads


class AhaSendSending:
    """Implementation of `portal.providers.provider.Sending`."""

    def __init__(self, http: Http, account_id: str) -> None:
        self._http, self._base = http, f"/v2/accounts/{account_id}"

    def domains(self) -> list[Domain]:
        page = partial(payloads.page_call, f"{self._base}/domains", "domains.list")
        read = partial(parsing.page, parsing.domain)
        return list(rows_of_list(self._call, page, read, identify=attrgetter("name")))

    def domain(self, name: str) -> Domain:
        answer = self._call(Call("GET", self._path(name), "domains.read"))
        return parsing.domain(answer, answer.json())

    def domain_body(self, name: str) -> str:
        return payloads.domain_body(name)

    def add_domain(self, once: IdempotentBody) -> Domain:
        answer = self._call(payloads.keyed_call(f"{self._base}/domains", "domains.create", once))
        return parsing.domain(answer, answer.json())

    def check_dns(self, name: str) -> Domain:
        answer = self._call(Call("POST", self._path(name, "/check-dns"), "domains.check", changes=True))
        return parsing.domain(answer, answer.json())

    def message_body(self, message: TestMessage) -> str:
        return payloads.message_body(message)

    def send_message(self, once: IdempotentBody) -> Created:
        return parsing.sent(self._call(payloads.keyed_call(f"{self._base}/messages", "messages.send", once, 202)))

    def message(self, message_id: str) -> MessageReading:
        path = f"{self._base}/messages/{quote(message_id, safe='')}"
        return parsing.message(self._call(Call("GET", path, "messages.read")))

    def _path(self, name: str, rest: str = "") -> str:
        if not payloads.is_host(name):
            raise payloads.refused("Enter a domain name, such as mail.example.com.", "name")
        return f"{self._base}/domains/{name}{rest}"

    def _call(self, call: Call) -> Answer:
        try:
            return self._http.call(call)
        except Unauthorized as error:
            raise KeyRefused(
                "AhaSend rejected the account's own key (401). The key is revoked, or the account is suspended.",
                field_errors=error.field_errors,
                evidence=error.evidence,
            ) from None
