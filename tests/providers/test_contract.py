"""One suite for every provider, against the simulator over real HTTP; and our requests against the official contract.

A new provider joins by adding its kind to `KINDS`; what it cannot do, its `Capabilities` say, and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import pytest
import requests
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest
from requests.adapters import HTTPAdapter

from portal.providers import (
    AccountRef,
    ConnectionConfig,
    Evidence,
    Forbidden,
    IdempotentBody,
    NewAccount,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Profile,
    Provider,
    ProviderError,
    ProviderOffering,
    RateLimited,
    Rejected,
    ReportedState,
    Unauthorized,
    Unreadable,
    Unsupported,
    UsageSource,
    client,
)
from tests.support.contracts import SENDGRID, require_contract
from tests.support.sandbox import SandboxProcess

KINDS = ["sendgrid"]
PROFILE = Profile(
    email="ops@northwind.test",
    first_name="Accounts",
    company_name="Northwind Oy",
    company_website="https://northwind.test",
    phone="+358401234567",
    timezone="Europe/Helsinki",
)
PRO = ProviderOffering("postkeeper.ei.pro-100k.v1", "package")
IPS = ProviderOffering("postkeeper.x.ip.v2", "addon", 2)


def config(sandbox: SandboxProcess, **more: Any) -> ConnectionConfig:
    given: dict[str, Any] = {
        "base_url": sandbox.base_url,
        "api_key": sandbox.key,
        "sign_in_hosts": ("sendgrid.com", "127.0.0.1"),
        "read_timeout": 1.0,
    }
    return ConnectionConfig(**(given | more))


def create(provider: Provider, profile: Profile, *offerings: ProviderOffering, test: bool) -> str:
    """A create as the executor sends it; the new account's id."""
    new = NewAccount(profile, offerings, test=test)
    return provider.create_account(new, IdempotentBody(uuid4().hex, provider.create_body(new))).id


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kept() -> list[Evidence]:
    return []


@pytest.fixture
def provider(kind: str, sandbox: SandboxProcess, kept: list[Evidence]) -> Provider:
    return client(config(sandbox, kind=kind), on_exchange=kept.append)


@pytest.fixture
def account(provider: Provider, kept: list[Evidence]) -> AccountRef:
    found = AccountRef(create(provider, PROFILE, PRO, test=False))
    kept.clear()
    return found


def test_a_life(provider: Provider, sandbox: SandboxProcess) -> None:
    account = AccountRef(create(provider, PROFILE, PRO, test=False))
    [listed] = provider.list_accounts()
    assert listed.id == account.id
    assert provider.offerings(account) == [PRO]
    assert provider.replace_offerings(account, [PRO, IPS]) == [PRO, IPS]
    assert provider.offerings(account) == [PRO, IPS]
    assert provider.state(account).state is ReportedState.ACTIVE
    provider.set_sending(account, on=False)
    assert provider.state(account).state is ReportedState.STOPPED_BY_US
    provider.set_sending(account, on=True)
    assert provider.state(account).state is ReportedState.ACTIVE
    provider.delete_account(account)
    assert list(provider.list_accounts()) == []
    gone: list[Callable[[], Any]] = [
        lambda: provider.delete_account(account),
        lambda: provider.state(account),
        lambda: provider.offerings(account),
        lambda: provider.set_sending(account, on=True),
        lambda: provider.replace_offerings(account, [PRO]),
        lambda: provider.sign_in_url(account),
        lambda: provider.usage(account, UsageSource.CREDITS),
    ]
    for ask in gone:
        with pytest.raises(NotFound):
            ask()
    assert not any(line["leaked"] for line in sandbox.admin.requests())


def test_a_test_account_is_one(provider: Provider, sandbox: SandboxProcess) -> None:
    real = create(provider, PROFILE, PRO, test=False)
    test = create(provider, PROFILE, PRO, test=True)
    assert {found["id"]: found["test"] for found in sandbox.admin.accounts()} == {real: False, test: True}


def test_the_catalogue_sells_what_it_names(provider: Provider) -> None:
    for entry in provider.catalog():
        if entry.offering.type == "package":
            created = AccountRef(create(provider, PROFILE, entry.offering, test=True))
            assert provider.offerings(created) == [entry.offering]
            assert entry.entitlements["email_sends_max_monthly"] > 0


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ("suspended", ReportedState.STOPPED_BY_PROVIDER),
        ("banned", ReportedState.BANNED),
        ("indeterminate", ReportedState.INDETERMINATE),
        ("hibernating", ReportedState.UNKNOWN),
    ],
)
def test_states_set_by_the_provider(
    provider: Provider, account: AccountRef, sandbox: SandboxProcess, raw: str, state: ReportedState
) -> None:
    sandbox.admin.set_state(account.id, raw)
    reading = provider.state(account)
    assert (reading.state, reading.raw) == (state, raw)


def test_a_held_account_cannot_be_unsuspended_by_us(
    provider: Provider, account: AccountRef, sandbox: SandboxProcess
) -> None:
    sandbox.admin.set_state(account.id, "suspended")
    with pytest.raises(Forbidden):
        provider.set_sending(account, on=True)


def test_refusals_name_their_fields(provider: Provider) -> None:
    wrong = Profile(email="nobody", phone="12", company_website="not a site")
    with pytest.raises(Rejected) as caught:
        create(provider, wrong, PRO, test=False)
    assert {error.field for error in caught.value.field_errors} == {"email", "phone", "company_website"}
    assert list(provider.list_accounts()) == []


def test_sign_in_is_handed_over_unburnt(provider: Provider, account: AccountRef, kept: list[Evidence]) -> None:
    url = provider.sign_in_url(account).url
    code = url.partition("code=")[2]
    assert code
    assert code not in repr(kept)
    assert requests.get(url, timeout=5).status_code == 200  # nobody used it before the browser
    assert requests.get(url, timeout=5).status_code == 410


def test_identity_proves_whose_account_it_is(provider: Provider, account: AccountRef) -> None:
    found = provider.identity(account)
    assert (found.email, found.company) == (PROFILE.email, PROFILE.company_name)
    assert found.username


def test_every_source_of_usage_tells_the_truth(
    provider: Provider, account: AccountRef, sandbox: SandboxProcess
) -> None:
    sandbox.admin.add_usage(account.id, 131_250)
    [cycle] = sandbox.admin.truth(account.id)[0]["cycles"]
    reachable = AccountRef(account.id, provider.identity(account).username or "")
    for source in provider.capabilities.usage_sources:
        found = provider.usage(reachable, source)
        assert (found.used, found.allowed, found.overage) == (cycle["used"], cycle["allowed"], cycle["overage"])
        assert found.used == 131_250
        assert found.remaining == 0
        assert found.period_start_on is not None
        assert found.period_end_on is not None
        assert not found.period_inferred


def test_statistics_are_the_requests_of_each_day(
    provider: Provider, account: AccountRef, sandbox: SandboxProcess
) -> None:
    if not provider.capabilities.statistics:
        pytest.skip("no statistics")
    sandbox.admin.add_usage(account.id, 1_250)
    today = provider.usage(account, UsageSource.CREDITS).period_start_on
    assert today is not None
    found = provider.statistics(account, today, today + timedelta(days=30))
    assert sum(found.values()) == 1_250
    assert min(found) >= today


@pytest.mark.long
def test_v2_in_its_other_moods(provider: Provider, account: AccountRef, sandbox: SandboxProcess) -> None:
    ref = AccountRef(account.id, provider.identity(account).username or "")
    sources = (UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML)
    sandbox.admin.add_usage(account.id, 10)
    sandbox.admin.switch("v2_typing", "numbers")
    assert [provider.usage(ref, source).used for source in sources] == [10, 10]
    sandbox.admin.switch("v2_billing_dates", False)
    assert [provider.usage(ref, source).period_start_on for source in sources] == [None, None]
    sandbox.admin.switch("v2_missing_field", "credits_allowed")
    assert [provider.usage(ref, source).allowed for source in sources] == [None, None]
    sandbox.admin.switch("v2_missing_field", "credits_used")
    for source in sources:
        with pytest.raises(Unreadable):
            provider.usage(ref, source)
    for status in (404, 410):
        sandbox.admin.switch("v2_retired", status)
        for source in sources:
            with pytest.raises(Unsupported):
                provider.usage(ref, source)


V2_ERRORS: dict[str, type[ProviderError]] = {
    "v2-e1": Rejected,
    "v2-e2": Unauthorized,
    "v2-e2-200": Unauthorized,
    "v2-e3": Rejected,  # which of them, its text decides; test_sendgrid has the table
    "v2-e4": Unauthorized,
    "v2-e5": RateLimited,
    "v2-e6": Unauthorized,
    "v2-e7": Unreadable,
}


@pytest.mark.parametrize("fault", V2_ERRORS)
@pytest.mark.long
def test_v2_errors(provider: Provider, account: AccountRef, sandbox: SandboxProcess, fault: str) -> None:
    ref = AccountRef(account.id, provider.identity(account).username or "")
    sandbox.admin.arm(fault, "overview", count=None)
    for source in (UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML):
        with pytest.raises(V2_ERRORS[fault]):
            client(config(sandbox, kind="sendgrid")).usage(ref, source)


def test_the_three_ways_into_v2(kind: str, provider: Provider, account: AccountRef, sandbox: SandboxProcess) -> None:
    ref = AccountRef(account.id, provider.identity(account).username or "")
    [login] = [o for o in sandbox.admin.organisations() if o["id"] == "reseller-global"]
    ways = {
        "key_in_form": config(sandbox, kind=kind),
        "header": config(sandbox, kind=kind, v2_auth="header"),
        "password": config(
            sandbox,
            kind=kind,
            v2_auth="password",
            v2_username=login["username"],
            v2_password=login.get("password") or login["v2_password"],
        ),
    }
    assert client(ways["key_in_form"]).usage(ref, UsageSource.OVERVIEW_JSON).used == 0
    for way, switch in (("header", "v2_bearer"), ("password", "v2_password_login")):
        with pytest.raises(Unauthorized):
            client(ways[way]).usage(ref, UsageSource.OVERVIEW_JSON)
        sandbox.admin.switch(switch, True)
        assert client(ways[way]).usage(ref, UsageSource.OVERVIEW_JSON).used == 0


# What goes wrong: each fault, armed for a create, and whether the account exists afterwards

CREATE_FAULTS: list[tuple[str, type[ProviderError], int]] = [
    ("status-500", OutcomeUnknown, 0),
    ("status-502", OutcomeUnknown, 0),
    ("status-503", OutcomeUnknown, 0),
    ("status-504", OutcomeUnknown, 0),
    ("after-status-500", OutcomeUnknown, 1),
    ("create-then-504", OutcomeUnknown, 1),
    ("html-502", OutcomeUnknown, 0),
    ("after-html-502", OutcomeUnknown, 1),
    ("empty", OutcomeUnknown, 0),
    ("after-empty", OutcomeUnknown, 1),
    ("reset-before", OutcomeUnknown, 0),
    ("reset-after", OutcomeUnknown, 1),
    ("hang-before", OutcomeUnknown, 0),
    ("hang-after", OutcomeUnknown, 1),
    ("redirect", OutcomeUnknown, 0),
    ("after-redirect", OutcomeUnknown, 1),
    ("truncated", OutcomeUnknown, 1),
    ("before-truncated", OutcomeUnknown, 0),
    ("no-account-id", OutcomeUnknown, 1),
    ("before-no-account-id", OutcomeUnknown, 0),
    ("wrong-201", OutcomeUnknown, 1),
    ("before-wrong-201", OutcomeUnknown, 0),
    ("late-create", OutcomeUnknown, 0),
    ("huge", OutcomeUnknown, 1),
    ("429", RateLimited, 0),
]


@pytest.mark.parametrize(("fault", "error", "made"), CREATE_FAULTS)
def test_a_create_that_goes_wrong(
    kind: str, sandbox: SandboxProcess, fault: str, error: type[ProviderError], made: int
) -> None:
    kept: list[Evidence] = []
    provider = client(config(sandbox, kind=kind), on_exchange=kept.append)
    sandbox.admin.arm(fault, "create")
    with pytest.raises(ProviderError) as caught:
        create(provider, PROFILE, PRO, test=False)
    assert type(caught.value) is error
    assert len(sandbox.admin.requests("create")) == len(kept) == 1  # never a second POST
    assert len(list(provider.list_accounts())) == made


def test_a_dripping_create_is_unknown_at_the_deadline(kind: str, sandbox: SandboxProcess) -> None:
    sandbox.admin.arm("slow-drip", "create", seconds=0.1)
    provider = client(config(sandbox, kind=kind, read_timeout=5.0, total_timeout=2.0))
    with pytest.raises(OutcomeUnknown, match="time"):
        create(provider, PROFILE, PRO, test=False)
    assert len(sandbox.admin.accounts()) == 1


def test_a_sandbox_that_is_gone_is_not_sent(kind: str) -> None:
    with SandboxProcess() as gone:
        settings = config(gone, kind=kind)
    with pytest.raises(NotSent):
        create(client(settings), PROFILE, PRO, test=False)


@pytest.mark.parametrize("fault", ["status-503", "reset", "html-502", "empty", "redirect", "truncated"])
def test_reads_outlive_one_failure_and_say_so_after_three(
    kind: str, account: AccountRef, sandbox: SandboxProcess, fault: str
) -> None:
    provider = client(config(sandbox, kind=kind))
    sandbox.admin.arm(fault, "state", count=1)
    assert provider.state(account).state is ReportedState.ACTIVE
    sandbox.admin.arm(fault, "state", count=None)
    with pytest.raises(Unreadable):
        provider.state(account)


def test_a_revoked_key_is_told_from_a_missing_right(kind: str, account: AccountRef, sandbox: SandboxProcess) -> None:
    foreign = client(
        config(sandbox, kind=kind, api_key=sandbox.admin.add_key(organisation="reseller-global", reseller=False))
    )
    with pytest.raises(Forbidden):
        foreign.state(account)
    narrow = client(
        config(
            sandbox,
            kind=kind,
            api_key=sandbox.admin.add_key(organisation="reseller-global", missing_scopes=["user.credits.read"]),
        )
    )
    with pytest.raises(Forbidden):
        narrow.usage(account, UsageSource.CREDITS)
    unknown = client(config(sandbox, kind=kind, api_key="nobody-knows-this-key"))
    for ask in (lambda: unknown.state(account), lambda: unknown.usage(account, UsageSource.CREDITS)):
        with pytest.raises(Unauthorized):
            ask()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_account_never_looks_like_a_wrong_key(provider: Provider, sandbox: SandboxProcess, status: int) -> None:
    sandbox.admin.switch("unknown_behalf", status)
    with pytest.raises((Forbidden, NotFound)):
        provider.usage(AccountRef("sg" + "0" * 32), UsageSource.CREDITS)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 200, 230])
@pytest.mark.parametrize("cursor", ["normal", "missing"])
def test_the_whole_list_whatever_its_length(
    provider: Provider, sandbox: SandboxProcess, count: int, cursor: str
) -> None:
    sandbox.admin.switch("list_cursor", cursor)
    sandbox.admin.switch("list_bare", count % 2 == 0)
    sandbox.admin.add_accounts([{"email": f"c{n}@example.test"} for n in range(count)])
    found = [account.id for account in provider.list_accounts()]
    assert len(found) == len(set(found)) == count
    assert set(found) == {account["id"] for account in sandbox.admin.accounts()}


def test_a_page_shorter_than_the_limit_is_not_the_end(provider: Provider, sandbox: SandboxProcess) -> None:
    sandbox.admin.switch("list_page_cap", 54)
    sandbox.admin.add_accounts([{"email": f"c{n}@example.test"} for n in range(130)])
    assert len(list(provider.list_accounts())) == 130


@pytest.mark.parametrize("cursor", ["stuck", "loop", "repeat"])
def test_a_list_that_loops_is_not_complete(provider: Provider, sandbox: SandboxProcess, cursor: str) -> None:
    sandbox.admin.switch("list_cursor", cursor)
    sandbox.admin.add_accounts([{"email": f"c{n}@example.test"} for n in range(250)])
    with pytest.raises(Unreadable):
        list(provider.list_accounts())


def test_verify_on_a_fresh_and_on_a_used_connection(provider: Provider) -> None:
    assert {check.name: check.ok for check in provider.verify()} == {
        "accounts": True, "catalogue": True, "identity": None,
        "credits": None, "overview_json": None, "overview_xml": None,
    }  # fmt: skip
    create(provider, PROFILE, PRO, test=True)
    assert [check.ok for check in provider.verify()] == [True] * 6


def test_both_regions_answer(kind: str, sandbox: SandboxProcess) -> None:
    eu = client(config(sandbox, kind=kind, base_url=f"{sandbox.base_url}/eu", api_key=sandbox.eu_key))
    created = create(eu, PROFILE, PRO, test=False)
    assert [found.id for found in eu.list_accounts()] == [created]
    assert list(client(config(sandbox, kind=kind)).list_accounts()) == []


# The official contract


@cache
def contract() -> OpenAPI:
    return OpenAPI.from_file_path(str(SENDGRID))


@pytest.fixture
def sent() -> Iterator[list[requests.PreparedRequest]]:
    """Every request our client makes, as it goes to the socket."""
    seen: list[requests.PreparedRequest] = []
    original = HTTPAdapter.send

    def send(self: HTTPAdapter, request: requests.PreparedRequest, **more: Any) -> requests.Response:
        seen.append(request)
        return original(self, request, **more)

    with patch.object(HTTPAdapter, "send", send):
        yield seen


def test_our_requests_keep_to_the_official_contract(
    provider: Provider, sandbox: SandboxProcess, sent: list[requests.PreparedRequest]
) -> None:
    require_contract(SENDGRID)
    sandbox.admin.add_accounts([{"email": f"c{n}@example.test"} for n in range(101)])
    account = AccountRef(create(provider, PROFILE, PRO, IPS, test=True))
    create(provider, Profile(email="only@mail.test"), PRO, test=False)
    list(provider.list_accounts())
    provider.catalog()
    provider.offerings(account)
    provider.replace_offerings(account, [PRO])
    provider.state(account)
    provider.set_sending(account, on=False)
    provider.set_sending(account, on=True)
    provider.sign_in_url(account)
    provider.delete_account(account)
    for request in sent:
        target = urlsplit(request.url or "")
        body = request.body.encode() if isinstance(request.body, str) else request.body
        contract().validate_request(
            MockRequest(
                "https://api.sendgrid.com",
                (request.method or "").lower(),
                str(target.path),
                args=dict(parse_qsl(str(target.query))),
                headers=dict(request.headers),
                data=body,
                content_type="application/json",
            )
        )
    assert len({(request.method, str(request.url).count("/"), str(request.url)[-6:]) for request in sent}) >= 9
