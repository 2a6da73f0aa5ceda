"""Our client at both providers with a broken network between: what it says became of a create and of a read, what the
provider really did, and that no fault holds a call longer than its deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from portal.providers import (
    AccountRef,
    AccountSettings,
    ConnectionConfig,
    IdempotentBody,
    NewAccount,
    NotSent,
    OutcomeUnknown,
    Profile,
    Provider,
    ProviderError,
    ProviderOffering,
    Rejected,
    Unreadable,
    client,
)
from tests.chaos.proxy import BOTH, DOWN, UP, FaultProxy
from tests.support.ahasend import AHASEND_ACCOUNT, AHASEND_KEY
from tests.support.sandbox import KEY, SandboxProcess

# In production 45 s, and 5 to connect, 30 to read: LINE_SECONDS=45 tries that.
TOTAL = float(os.environ.get("LINE_SECONDS", "0.6"))
NEW = {
    "sendgrid": NewAccount(Profile("ops@northwind.test"), (ProviderOffering("postkeeper.ei.pro-100k.v1", "package"),)),
    "ahasend": NewAccount(Profile(""), (), settings=AccountSettings("Northwind Oy", "northwind.test", 0)),
}


@dataclass
class Line:
    """A client, the wire to its provider, and the provider's own word about what exists."""

    kind: str
    sandbox: SandboxProcess
    proxy: FaultProxy
    provider: Provider

    def create(self) -> str:
        new = NEW[self.kind]
        return self.provider.create_account(new, IdempotentBody("one-operation", self.provider.create_body(new))).id

    def spoil(self, kind: str, way: str, n: int) -> None:
        """A drip lets `n` bytes through in all the time there is."""
        self.proxy.set(kind, way, max(1, int(n / TOTAL)) if kind == "drip" else n)

    def there(self) -> int:
        admin = self.sandbox.admin
        return len(admin.accounts() if self.kind == "sendgrid" else admin.aha.accounts())

    def settled(self, wanted: int) -> int:
        """The provider may still be at it when the client has given up."""
        until = time.monotonic() + 3
        while self.there() != wanted and time.monotonic() < until:
            time.sleep(0.05)
        return self.there()


@pytest.fixture(params=["sendgrid", "ahasend"])
def line(request: pytest.FixtureRequest, sandbox: SandboxProcess) -> Iterator[Line]:
    with FaultProxy(int(sandbox.base_url.rpartition(":")[2])) as proxy:
        is_aha = request.param == "ahasend"
        config = ConnectionConfig(
            kind=request.param, base_url=proxy.url, api_key=AHASEND_KEY if is_aha else KEY,
            account_id=AHASEND_ACCOUNT if is_aha else "", connect_timeout=min(5.0, TOTAL / 2),
            read_timeout=TOTAL / 3 * 2, total_timeout=TOTAL,
        )  # fmt: skip
        yield Line(request.param, sandbox, proxy, client(config))


# The request's first line is longer than 40 bytes, and its head than 150; "HTTP/1.1 201" has its status from byte 9.
# (fault, way, n), what the client says, whether the account came to be
FAULTS: list[tuple[tuple[str, str, int], type[ProviderError], bool]] = [
    (("refuse", BOTH, 0), NotSent, False),
    (("hang-on-connect", BOTH, 0), NotSent, False),
    (("hang", BOTH, 0), OutcomeUnknown, False),
    (("reset", UP, 0), OutcomeUnknown, False),
    (("reset", UP, 40), OutcomeUnknown, False),
    (("reset", UP, 150), OutcomeUnknown, False),
    (("reset", DOWN, 0), OutcomeUnknown, True),
    (("reset", DOWN, 11), OutcomeUnknown, True),
    (("reset", DOWN, 60), OutcomeUnknown, True),
    (("drip", UP, 12), OutcomeUnknown, False),
    (("drip", DOWN, 12), OutcomeUnknown, True),
    (("garble", UP, 0), ProviderError, False),
    (("garble", DOWN, 0), OutcomeUnknown, True),
    (("garble", DOWN, 9), OutcomeUnknown, True),
    (("garble", DOWN, 10), OutcomeUnknown, True),
    (("half-open", UP, 0), OutcomeUnknown, False),
    (("half-open", DOWN, 0), OutcomeUnknown, True),
    (("half-open", BOTH, 0), OutcomeUnknown, False),
]
IDS = ["-".join(map(str, fault)) for fault, _, _ in FAULTS]


@pytest.mark.parametrize(("fault", "said", "made"), FAULTS, ids=IDS)
@pytest.mark.sample(8)
def test_a_create_on_a_broken_line(
    line: Line, fault: tuple[str, str, int], said: type[ProviderError], made: bool
) -> None:
    line.spoil(*fault)
    began = time.monotonic()
    with pytest.raises(said) as caught:
        line.create()
    took = time.monotonic() - began
    assert took < TOTAL + 0.5
    assert not isinstance(caught.value, NotSent) or said is NotSent
    line.proxy.clear()
    assert line.settled(int(made)) == int(made)


@pytest.mark.parametrize(("fault", "said"), [each[:2] for each in FAULTS], ids=IDS)
@pytest.mark.sample(8)
def test_a_read_on_a_broken_line(line: Line, fault: tuple[str, str, int], said: type[ProviderError]) -> None:
    account = AccountRef(line.create())
    read: Callable[[AccountRef], object] = line.provider.state
    if line.kind == "ahasend":
        read = line.provider.details
    line.spoil(*fault)
    began = time.monotonic()
    with pytest.raises((NotSent, Unreadable, Rejected)) as caught:
        read(account)
    assert time.monotonic() - began < TOTAL + 0.5
    if said is NotSent:
        assert isinstance(caught.value, NotSent)
    line.proxy.clear()
    read(account)  # nothing of the broken connection is left in the next one
