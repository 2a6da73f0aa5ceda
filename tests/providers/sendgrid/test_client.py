"""What goes over the wire to SendGrid, and what is read from it."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import pytest
import responses

from portal.providers import (
    CAPABILITIES,
    AccountRef,
    CatalogEntry,
    Forbidden,
    Identity,
    NotFound,
    Profile,
    ProviderError,
    ProviderOffering,
    Rejected,
    ReportedState,
    StateReading,
    Unauthorized,
    Unreadable,
    Unsupported,
    Usage,
    UsageSource,
    client,
)
from tests.providers.conftest import Stub
from tests.providers.samples import ACCOUNT, CATALOG, CREATED, CREDITS, OFFERINGS, OVERVIEW, xml
from tests.providers.support import ACCOUNT_ID, KEY, SENDGRID, config, create, sendgrid

FAILED = {"errors": [{"message": "Permission denied, wrong credentials", "field": None, "help": None}]}


def only_request(mock: responses.RequestsMock) -> Any:
    assert len(mock.calls) == 1
    return mock.calls[0].request


# What is sent


def test_a_create_sends_what_is_known_and_nothing_else(stub: Stub) -> None:
    mock = stub(201, CREATED)
    profile = Profile(email="ops@northwind.test", first_name="Åsa", timezone="Europe/Helsinki")
    offerings = [ProviderOffering("acme.ei.pro-100k.v1", "package"), ProviderOffering("acme.x.ip.v2", "addon", 2)]
    assert create(sendgrid(), profile, offerings) == ACCOUNT_ID
    request = only_request(mock)
    assert (request.method, request.url) == ("POST", f"{SENDGRID}/v3/partners/accounts")
    assert json.loads(request.body) == {
        "profile": {"email": "ops@northwind.test", "first_name": "Åsa", "timezone": "Europe/Helsinki"},
        "offerings": [
            {"name": "acme.ei.pro-100k.v1", "type": "package", "quantity": 1},
            {"name": "acme.x.ip.v2", "type": "addon", "quantity": 2},
        ],
    }
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Content-Type"] == request.headers["Accept"] == "application/json"
    assert "T-Test-Account" not in request.headers


def test_the_test_header_is_sent_only_when_wanted(stub: Stub) -> None:
    mock = stub(201, CREATED)
    create(sendgrid(), test=True)
    assert only_request(mock).headers["T-Test-Account"] == "true"


@pytest.mark.parametrize(("on", "word"), [(True, "activated"), (False, "deactivated")], ids=["unsuspend", "suspend"])
def test_state_is_written_in_sendgrids_words(stub: Stub, on: bool, word: str) -> None:
    mock = stub(204)
    sendgrid().set_sending(ACCOUNT, on=on)
    request = only_request(mock)
    assert (request.method, request.path_url) == ("PUT", f"/v3/partners/accounts/{ACCOUNT_ID}/state")
    assert json.loads(request.body) == {"state": word}


def test_the_whole_list_is_replaced_and_given_back(stub: Stub) -> None:
    mock = stub(200, OFFERINGS)
    found = sendgrid().replace_offerings(ACCOUNT, [ProviderOffering("acme.gone.v0", "addon", 3)])
    request = only_request(mock)
    assert (request.method, request.path_url) == ("PUT", f"/v3/partners/accounts/{ACCOUNT_ID}/offerings")
    assert json.loads(request.body) == {"offerings": [{"name": "acme.gone.v0", "type": "addon", "quantity": 3}]}
    assert found == [
        ProviderOffering("acme.ei.pro-100k.v1", "package", 1),
        ProviderOffering("acme.x.ip.v2", "addon", 2),
    ]


@pytest.mark.parametrize("name", [" x.pool ", "x.trailing ", "x.\u00e9", "x.e\u0301", "x\u200b.\u202ey", "x\ty"])
def test_offerings_go_back_byte_for_byte(stub: Stub, name: str) -> None:
    odd = {"name": name, "type": "ip pool ", "quantity": 3}
    mock = stub(200, {"offerings": [odd]})
    found = sendgrid().offerings(ACCOUNT)
    assert sendgrid().replace_offerings(ACCOUNT, found) == found
    assert json.loads(mock.calls[1].request.body) == {"offerings": [odd]}


def test_a_username_goes_back_byte_for_byte() -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        on_behalf(mock, email=(200, {"email": "a@b.example "}), username=(200, {"username": "ops "}))
        found = sendgrid().identity(ACCOUNT)
        assert (found.email, found.username) == ("a@b.example", "ops ")
        mock.add("POST", f"{SENDGRID}/apiv2/reseller.account.json", json=OVERVIEW)
        sendgrid().usage(AccountRef(ACCOUNT_ID, found.username), UsageSource.OVERVIEW_JSON)
        assert parse_qs(mock.calls[-1].request.body.decode())["user"] == ["ops "]


def test_an_id_that_cannot_be_sent_back_is_none(stub: Stub) -> None:
    mock = stub(200, {"accounts": [{"id": f" {ACCOUNT_ID}", "created_at": "2026-03-02T08:15:00Z"}]})
    (listed,) = sendgrid().list_accounts()
    with pytest.raises(Rejected, match="Nothing was sent"):
        sendgrid().state(AccountRef(listed.id))
    assert len(mock.calls) == 1


def test_deleting_what_is_gone_says_so(stub: Stub) -> None:
    mock = stub(404, {"errors": [{"message": "No such endpoint", "field": "", "error_id": "10-40400"}]})
    with pytest.raises(NotFound):
        sendgrid().delete_account(ACCOUNT)
    assert only_request(mock).method == "DELETE"


def test_a_base_url_may_have_a_prefix(stub: Stub) -> None:
    mock = stub(200, {"state": "activated"})
    sendgrid("http://127.0.0.1:9/eu/").state(ACCOUNT)
    assert only_request(mock).url == f"http://127.0.0.1:9/eu/v3/partners/accounts/{ACCOUNT_ID}/state"


# What is read


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ("activated", ReportedState.ACTIVE),
        ("deactivated", ReportedState.STOPPED_BY_US),
        ("suspended", ReportedState.STOPPED_BY_PROVIDER),
        ("banned", ReportedState.BANNED),
        ("indeterminate", ReportedState.INDETERMINATE),
        ("Activated", ReportedState.ACTIVE),
        ("hibernating", ReportedState.UNKNOWN),
        ("deleted", ReportedState.UNKNOWN),
    ],
)
def test_states(stub: Stub, raw: str, state: ReportedState) -> None:
    stub(200, {"state": raw, "since": "yesterday"})
    assert sendgrid().state(ACCOUNT) == StateReading(state, raw)


@pytest.mark.parametrize("body", [{}, {"state": None}, {"state": 1}, {"state": ""}, ["activated"], "activated"])
def test_no_state_is_unreadable(stub: Stub, body: Any) -> None:
    stub(200, body)
    with pytest.raises(Unreadable):
        sendgrid().state(ACCOUNT)


def test_the_catalogue_keeps_every_figure_it_can_read(stub: Stub) -> None:
    odd = {
        "offering": {"name": "acme.new.v1", "type": "bundle", "quantity": None},
        "entitlements": {"ip_count": "3", "contacts": 10, "bool": True, "less": -1, "text": "many", "none": None},
    }
    stub(200, {"catalog": [*CATALOG["catalog"], odd], "pages": {}})  # fmt: skip
    found = sendgrid().catalog()
    assert found[0].entitlements == {
        "email_sends_max_monthly": 3000, "ip_count": 0, "teammates_max_total": 1, "users_max_total": 0,
    }  # fmt: skip
    assert found[1] == CatalogEntry(ProviderOffering("acme.x.ip.v2", "addon", 1), {"ip_count": 1})
    assert found[2] == CatalogEntry(ProviderOffering("acme.new.v1", "bundle", 1), {"ip_count": 3, "contacts": 10})


# On behalf of an account


def test_credits_are_read_on_behalf_of_the_account(stub: Stub) -> None:
    mock = stub(200, CREDITS)
    found = sendgrid().usage(ACCOUNT, UsageSource.CREDITS)
    request = only_request(mock)
    assert (request.method, request.path_url) == ("GET", "/v3/user/credits")
    assert request.headers["on-behalf-of"] == f"account-id {ACCOUNT_ID}"
    assert found == Usage(
        source=UsageSource.CREDITS,
        used=58800,
        allowed=100000,
        remaining=41200,
        overage=7,
        period_start_on=date(2026, 6, 1),
        period_end_on=date(2026, 6, 30),
        raw=CREDITS,
    )


@pytest.mark.parametrize("name", ["remain", "total", "overage", "last_reset", "next_reset", "reset_frequency"])
@pytest.mark.parametrize("value", [..., None, "", "n/a", False, -1, [], {}])
def test_what_is_missing_is_not_zero(stub: Stub, name: str, value: Any) -> None:
    body = {**CREDITS, name: value}
    if value is ...:
        del body[name]
    stub(200, body)
    found = sendgrid().usage(ACCOUNT, UsageSource.CREDITS)
    read = {"remain": found.remaining, "total": found.allowed, "overage": found.overage,
            "last_reset": found.period_start_on, "next_reset": found.period_end_on}  # fmt: skip
    assert [key for key, figure in read.items() if figure is None] == [key for key in read if key == name]
    assert found.used == 58800
    assert found.period_inferred is (name == "last_reset")


def test_the_last_day_of_a_cycle_is_the_day_before_the_reset(stub: Stub) -> None:
    stub(200, {**CREDITS, "last_reset": "2028-01-31", "next_reset": "2028-02-29"})
    found = sendgrid().usage(ACCOUNT, UsageSource.CREDITS)
    assert (found.period_start_on, found.period_end_on) == (date(2028, 1, 31), date(2028, 2, 28))


def test_a_cycle_that_runs_backwards_is_none(stub: Stub) -> None:
    stub(200, {**CREDITS, "last_reset": "2026-07-01", "next_reset": "2026-06-01"})
    found = sendgrid().usage(ACCOUNT, UsageSource.CREDITS)
    assert (found.period_start_on, found.period_end_on, found.period_inferred) == (None, None, True)
    assert found.raw["next_reset"] == "2026-06-01"


@pytest.mark.parametrize("body", [{}, [], {"remain": 0, "total": 0}, FAILED, None, 0])
def test_no_credits_is_unreadable_and_not_zero(stub: Stub, body: Any) -> None:
    stub(200, body)
    with pytest.raises(Unreadable):
        sendgrid().usage(ACCOUNT, UsageSource.CREDITS)


def test_a_401_on_behalf_is_the_account_when_the_key_still_works(stub: Stub) -> None:
    stub(401, FAILED)
    stub(200, {"accounts": []})
    with pytest.raises(Forbidden) as caught:
        sendgrid().usage(ACCOUNT, UsageSource.CREDITS)
    assert caught.value.evidence.status == 401
    assert caught.value.evidence.path == "/v3/user/credits"


def test_a_401_on_behalf_is_the_key_when_nothing_works(stub: Stub) -> None:
    mock = stub(401, FAILED)
    with pytest.raises(Unauthorized):
        sendgrid().usage(ACCOUNT, UsageSource.CREDITS)
    assert len(mock.calls) == 2


def on_behalf(mock: responses.RequestsMock, **bodies: tuple[int, Any]) -> None:
    for name, (status, body) in bodies.items():
        mock.add("GET", f"{SENDGRID}/v3/user/{name}", status=status, json=body)


def test_each_part_of_an_identity_stands_alone() -> None:
    with responses.RequestsMock() as mock:
        on_behalf(
            mock,
            email=(200, {"email": "ops@northwind.test"}),
            username=(403, {"errors": [{"field": None, "message": "access forbidden"}]}),
            profile=(200, {"company": "", "city": "Espoo"}),
        )
        assert sendgrid().identity(ACCOUNT) == Identity("ops@northwind.test", None, "")


def test_nothing_readable_is_nothing_known(stub: Stub) -> None:
    stub(200, {"email": 7, "username": None, "company": []})
    assert sendgrid().identity(ACCOUNT) == Identity()


# The v2 overview


@pytest.mark.parametrize("source", [UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML])
def test_the_overview_in_both_languages(stub: Stub, source: UsageSource) -> None:
    stub(200, OVERVIEW if source is UsageSource.OVERVIEW_JSON else xml())
    found = sendgrid().usage(ACCOUNT, source)
    raw = {name: str(value) for name, value in found.raw.items()}
    assert raw == {name: str(value) for name, value in OVERVIEW.items()}
    assert found == Usage(
        source=source,
        used=131250,
        allowed=100000,
        remaining=9,
        overage=31250,
        requests=402118,
        reputation=Decimal(97),
        package="Gold Package",
        period_start_on=date(2026, 6, 3),
        period_end_on=date(2026, 7, 2),
        period_process_on=date(2026, 7, 3),
        raw=found.raw,
    )


def test_numbers_and_missing_dates_are_fine_too(stub: Stub) -> None:
    stub(200, {"reputation": 98.6, "credits_used": 5, "credits_allowed": " 1 000 ", "credits_overage": ""})
    found = sendgrid().usage(ACCOUNT, UsageSource.OVERVIEW_JSON)
    assert (found.used, found.allowed, found.overage, found.remaining) == (5, 1000, None, None)
    assert found.reputation == Decimal("98.6")
    assert found.period_inferred
    assert found.raw["reputation"] == "98.6"


def test_the_prologs_encoding_is_honoured(stub: Stub) -> None:
    stub(200, xml({**OVERVIEW, "package": "Försändelse Pro 100K"}))
    assert sendgrid().usage(ACCOUNT, UsageSource.OVERVIEW_XML).package == "Försändelse Pro 100K"


@pytest.mark.parametrize("source", [UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML])
@pytest.mark.parametrize(
    "content_type",
    ["text/plain; charset=ISO-8859-1", 'text/plain;charset="iso-8859-1"; x=y', "text/plain; charset=utf-8"],
)
def test_a_charset_named_in_the_content_type_alone(stub: Stub, source: UsageSource, content_type: str) -> None:
    overview = {**OVERVIEW, "package": "Försändelse Pro 100K"}
    body = xml(overview).replace(b' encoding="ISO-8859-1"', b"")
    if source is UsageSource.OVERVIEW_JSON:
        body = json.dumps(overview, ensure_ascii=False).encode("latin-1")
    if "utf" in content_type:
        body = body.decode("latin-1").encode()
    stub(200, body, Content_Type=content_type)
    assert sendgrid().usage(ACCOUNT, source).package == "Försändelse Pro 100K"


@pytest.mark.parametrize("source", [UsageSource.OVERVIEW_JSON, UsageSource.OVERVIEW_XML])
@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=nonsense", "text/plain; charset=utf-8"])
def test_a_charset_that_does_not_fit_is_unreadable(stub: Stub, source: UsageSource, content_type: str) -> None:
    stub(200, b"\xff<result/>", Content_Type=content_type)
    with pytest.raises(Unreadable):
        sendgrid().usage(ACCOUNT, source)


@pytest.mark.parametrize("before", [b"\n", b"\r\n \t"])
def test_blanks_before_the_prolog_are_skipped(stub: Stub, before: bytes) -> None:
    stub(200, before + xml({**OVERVIEW, "package": "Försändelse"}))
    assert sendgrid().usage(ACCOUNT, UsageSource.OVERVIEW_XML).package == "Försändelse"


def test_a_refusal_in_another_charset_is_a_refusal(stub: Stub) -> None:
    body = '{"message":"error","errors":["Kunde inte hittas: Å"]}'.encode("latin-1")
    stub(400, body, Content_Type="application/json; charset=latin-1")
    with pytest.raises(NotFound, match="Kunde inte hittas: Å"):
        sendgrid().usage(ACCOUNT, UsageSource.OVERVIEW_JSON)


HTML = b"<html><head><title>Gone</title></head><body><h1>410<br></h1></body></html>"
WRONG_KEY = b'{"error":{"code":401,"message":"Permission denied, wrong credentials"}}'
XML_ERROR = b"<result><message>error</message><errors><error>%s</error></errors></result>"
REFUSALS: list[tuple[str, int, bytes, type[ProviderError]]] = [
    ("json", 400, b'{"message":"error","errors":["User does not exist","text"]}', NotFound),
    ("json", 200, b'{"message":"error","errors":["User does not exist"]}', NotFound),
    ("json", 401, WRONG_KEY, Unauthorized),
    ("json", 400, WRONG_KEY, Unauthorized),
    ("json", 200, WRONG_KEY, Unauthorized),
    ("json", 400, b'{"error":"text about a bad parameter"}', NotFound),
    ("json", 200, b'{"error":"text about a bad parameter"}', NotFound),
    ("json", 400, b'{"errors":["Permission denied, wrong credentials"],"message":"error"}', Unauthorized),
    ("json", 200, b'{"errors":["Permission denied, wrong credentials"],"message":"error"}', Unauthorized),
    ("json", 400, b'{"message":"error","errors":["invalid authentication method"]}', Unauthorized),
    ("json", 403, b'{"message":"error","errors":["not allowed"]}', Forbidden),
    ("json", 401, b"", Unauthorized),
    ("json", 403, HTML, Forbidden),
    ("json", 200, b'{"message":"success"}', Unreadable),
    ("json", 200, b"{}", Unreadable),
    ("json", 200, b"", Unreadable),
    ("json", 200, HTML, Unreadable),
    ("json", 200, xml(), Unreadable),
    ("json", 500, HTML, Unreadable),
    ("json", 503, b"", Unreadable),
    ("json", 400, HTML, Unreadable),
    ("json", 404, HTML, Unsupported),
    ("json", 410, HTML, Unsupported),
    ("json", 410, b"", Unsupported),
    ("json", 302, b"", Unreadable),
    ("xml", 400, XML_ERROR % b"User does not exist", NotFound),
    ("xml", 200, XML_ERROR % b"User does not exist", NotFound),
    ("xml", 400, XML_ERROR % b"Bad username / password", Unauthorized),
    ("xml", 200, XML_ERROR % b"Permission denied, wrong credentials", Unauthorized),
    ("xml", 401, WRONG_KEY, Unauthorized),
    ("xml", 200, b"<result><message>success</message></result>", Unreadable),
    ("xml", 200, b"<result>success</result>", Unreadable),
    ("xml", 200, b"<result><overview></overview></result>", Unreadable),
    ("xml", 200, b"<overview><credits_used>5</credits_used></overview>", Unreadable),
    ("xml", 200, b"", Unreadable),
    ("xml", 200, HTML, Unreadable),
    ("xml", 200, b'{"credits_used": 5}', Unreadable),
    ("xml", 502, HTML, Unreadable),
    ("xml", 404, HTML, Unsupported),
]


@pytest.mark.parametrize(("kind", "status", "body", "error"), REFUSALS)
def test_every_error_of_the_overview(
    stub: Stub, kind: str, status: int, body: bytes, error: type[ProviderError]
) -> None:
    stub(status, body)
    with pytest.raises(ProviderError) as caught:
        sendgrid().usage(ACCOUNT, UsageSource(f"overview_{kind}"))
    assert type(caught.value) is error
    assert caught.value.evidence.status == status


def test_the_overview_is_a_read_and_tried_again(stub: Stub) -> None:
    stub(502, HTML)
    mock = stub(200, OVERVIEW)
    assert sendgrid().usage(ACCOUNT, UsageSource.OVERVIEW_JSON).used == 131250
    assert len(mock.calls) == 2


def test_without_a_user_name_nothing_is_asked(stub: Stub) -> None:
    mock = stub(200, OVERVIEW)
    with pytest.raises(Unsupported):
        sendgrid().usage(AccountRef(ACCOUNT_ID), UsageSource.OVERVIEW_JSON)
    assert len(mock.calls) == 0


# Set-up


def verified(mock: responses.RequestsMock, **more: Any) -> dict[str, bool | None]:
    checks = sendgrid(**more).verify()
    assert all(check.detail for check in checks)
    return {check.name: check.ok for check in checks}


NAMES = ["accounts", "catalogue", "identity", "credits", "overview_json", "overview_xml"]


def test_verify_tells_what_works_and_what_does_not() -> None:
    with responses.RequestsMock() as mock:
        mock.add("GET", f"{SENDGRID}/v3/partners/accounts", json={"accounts": [{"id": ACCOUNT_ID}]})
        mock.add("GET", f"{SENDGRID}/v3/partners/offerings", json=CATALOG)
        on_behalf(mock, email=(200, {"email": "a@b.test"}), username=(200, {"username": "ops"}))
        on_behalf(mock, credits=(403, {"errors": [{"field": None, "message": "access forbidden"}]}))
        mock.add("POST", f"{SENDGRID}/apiv2/reseller.account.json", json=OVERVIEW)
        mock.add("POST", f"{SENDGRID}/apiv2/reseller.account.xml", body=HTML, status=410)
        assert verified(mock) == dict(zip(NAMES, [True, True, True, False, True, False], strict=True))


def test_verify_says_what_could_not_be_tried(stub: Stub) -> None:
    stub(200, {"accounts": []})
    mock = stub(200, {"catalog": []})
    assert verified(mock) == {"accounts": True, "catalogue": True} | dict.fromkeys(NAMES[2:])


def test_verify_with_a_wrong_key_is_quick_and_plain(stub: Stub) -> None:
    mock = stub(401, FAILED)
    assert verified(mock) == {"accounts": False, "catalogue": False} | dict.fromkeys(NAMES[2:])
    assert len(mock.calls) == 2


def test_verify_repeats_nothing_and_keeps_its_time(stub: Stub) -> None:
    mock = stub(502)
    assert verified(mock)["accounts"] is False
    assert len(mock.calls) == 2
    assert verified(mock, total_timeout=-1.0)["catalogue"] is False
    assert len(mock.calls) == 2


def test_what_sendgrid_can_do_is_data() -> None:
    found = CAPABILITIES["sendgrid"]
    assert found.regions == {"global": SENDGRID, "eu": "https://api.eu.sendgrid.com"}
    assert not found.idempotent_create
    assert client(config()).capabilities is found
    with pytest.raises(Unsupported):
        client(config(kind="pigeon"))


def test_consequences_are_told_before_a_suspend() -> None:
    told = " ".join(" ".join(line) for line in CAPABILITIES["sendgrid"].suspend_consequences)
    for fact in ("rejects new email", "Queued email is deleted", "Billing continues"):
        assert fact in told


def test_refusals_without_a_request_carry_empty_evidence() -> None:
    with pytest.raises(Rejected) as caught:
        sendgrid().state(AccountRef("../secret"))
    assert caught.value.evidence.status is None
