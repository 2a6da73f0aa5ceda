"""What a key may do, as it is typed: rights, addresses in their canonical form, and only what differs."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from customers.accounts.keys.forms import AddressesField, KeyForm
from customers.accounts.keys.queries import family_of
from customers.accounts.sending.forms import DomainForm, TestMessageForm
from customers.labels import split_label
from tests.customers.keys import account_with_keys, connection_with_keys, key_of

pytestmark = pytest.mark.django_db


def form_of(keep_keys: bool = True, **typed: Any) -> KeyForm:
    data = {"label": "Web shop", "rights": "send", "ip_allow_list": ""} | typed
    return KeyForm(connection_with_keys(keep_keys=keep_keys, name=uuid4().hex), data)


class TestRights:
    def test_a_bundle_is_its_scopes(self) -> None:
        form = form_of(rights="setup", scopes=["accounts:billing"])
        assert form.is_valid()
        assert form.new_key.scopes == ("messages:send:all", "messages:read:all", "domains:read", "domains:write")

    def test_single_scopes_in_the_order_they_are_offered(self) -> None:
        form = form_of(rights="single", scopes=["domains:read", "messages:send:all"])
        assert form.is_valid()
        assert form.new_key.scopes == ("messages:send:all", "domains:read")

    def test_single_without_any(self) -> None:
        form = form_of(rights="single")
        assert not form.is_valid()
        assert "scopes" in form.errors

    @pytest.mark.parametrize("scope", ["sub-accounts:read", "messages:send:all:all", "nonsense"])
    def test_only_what_is_offered(self, scope: str) -> None:
        assert not form_of(rights="single", scopes=[scope]).is_valid()

    def test_a_single_domain_scope_is_replaced_by_the_one_for_all(self) -> None:
        account = account_with_keys()
        key = key_of(account, scopes=["messages:send:{mail.larkfield.example}", "domains:read"])
        typed = {"label": "Web shop", "rights": "single", "ip_allow_list": "", "scopes": list(key.scopes)}
        form = KeyForm(account.connection, typed, key=key)
        assert form.is_valid()
        assert form.changes(key) == {}
        form = KeyForm(account.connection, typed | {"scopes": [*key.scopes, "messages:send:all"]}, key=key)
        assert form.is_valid()
        assert form.changes(key) == {"scopes": ["messages:send:all", "domains:read"]}

    def test_keeping_is_offered_only_where_the_connection_allows_it(self) -> None:
        form = form_of(keep="on")
        assert form.is_valid()
        assert form.keeps
        form = form_of(keep_keys=False, keep="on")
        assert form.is_valid()
        assert not form.keeps

    @pytest.mark.parametrize(("label", "fine"), [("", False), ("   ", False), ("x" * 240, True), ("x" * 241, False)])
    def test_labels(self, label: str, fine: bool) -> None:
        assert form_of(label=label).is_valid() is fine


class TestAddresses:
    @pytest.mark.parametrize(
        ("typed", "kept"),
        [
            ("", ()),
            ("203.0.113.9", ("203.0.113.9/32",)),
            (" 198.51.100.77/24 \r\n\r\n198.51.100.0/24", ("198.51.100.0/24",)),
            ("2001:db8::1, 2001:DB8:0::/32", ("2001:db8::1/128", "2001:db8::/32")),
        ],
    )
    def test_the_canonical_form(self, typed: str, kept: tuple[str, ...]) -> None:
        assert AddressesField(required=False).clean(typed) == kept

    @pytest.mark.parametrize(
        ("typed", "said"),
        [
            ("203.0.113.9\n0.0.0.0/0", "Line 2"),
            ("::/0", "allows every IP address"),
            ("10.0.0.1/0", "allows every IP address"),
            ("10.0.0.1/33", "an IP address or a CIDR range"),
            ("shop.example", "an IP address or a CIDR range"),
            ("10.0.0.1 10.0.0.2", "an IP address or a CIDR range"),
        ],
    )
    def test_refused(self, typed: str, said: str) -> None:
        form = form_of(ip_allow_list=typed)
        assert not form.is_valid()
        assert said in str(form.errors["ip_allow_list"])
        assert form["ip_allow_list"].value() == typed

    def test_a_hundred_after_doubles_are_taken_off(self) -> None:
        hundred = [f"192.0.2.{n}" for n in range(100)]
        assert form_of(ip_allow_list="\n".join([*hundred, "192.0.2.7/32"])).is_valid()
        form = form_of(ip_allow_list="\n".join([*hundred, "192.0.2.100"]))
        assert not form.is_valid()
        assert "101 IP addresses. The maximum is 100." in str(form.errors["ip_allow_list"])

    def test_what_is_kept_in_another_form_is_said(self) -> None:
        form = form_of(ip_allow_list="203.0.113.9\n198.51.100.77/24\n192.0.2.0/24")
        assert form.is_valid()
        assert form.rewritten() == [("198.51.100.77/24", "198.51.100.0/24")]


class TestChanges:
    @pytest.mark.parametrize(
        ("typed", "changes"),
        [
            ({}, {}),
            ({"label": "Shop"}, {"label": "Shop · op_7C31AB"}),
            (
                {"rights": "setup"},
                {"scopes": ["messages:send:all", "messages:read:all", "domains:read", "domains:write"]},
            ),
            ({"ip_allow_list": "198.51.100.9/24\n203.0.113.9"}, {}),
            ({"ip_allow_list": ""}, {"ip_allow_list": []}),
            ({"ip_allow_list": "203.0.113.9"}, {"ip_allow_list": ["203.0.113.9/32"]}),
        ],
    )
    def test_only_what_differs(self, typed: dict[str, str], changes: dict[str, Any]) -> None:
        account = account_with_keys()
        key = key_of(account, ip_allow_list=["203.0.113.9/32", "198.51.100.0/24"])
        same = {"label": "Web shop", "rights": "send", "ip_allow_list": "203.0.113.9/32\n198.51.100.0/24"}
        form = KeyForm(account.connection, same | typed, key=key)
        assert form.is_valid(), form.errors
        assert form.changes(key) == changes

    def test_it_starts_from_the_key(self) -> None:
        account = account_with_keys()
        form = KeyForm(account.connection, key=key_of(account, scopes=["messages:send:all", "domains:read"]))
        assert form["label"].value() == "Web shop"
        assert form.is_single
        assert [scope for _, rows in form.families for _, scope, ticked in rows if ticked] == [
            "messages:send:all",
            "domains:read",
        ]
        assert "keep" not in form.fields


@pytest.mark.parametrize(
    ("label", "parts"),
    [("Web shop · op_7C31AB", ("Web shop", "op_7C31AB")), ("by hand", ("by hand", "")), ("a · op_x", ("a · op_x", ""))],
)
def test_the_code_is_told_from_what_was_typed(label: str, parts: tuple[str, str]) -> None:
    assert split_label(label) == parts


def test_families() -> None:
    assert [family_of(scope) for scope in ("smtp-credentials:read:all", "api-keys:read", "messages:send:all")] == [
        "SMTP credentials",
        "API keys",
        "Messages",
    ]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("Mail.Example.com", "mail.example.com"),
        ("https://mail.example.com/path?x#y", "mail.example.com"),
        ("news@mail.example.com", "mail.example.com"),
        ("mail.example.com.", "mail.example.com"),
        ("mail.example.com:443", "mail.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_domains_are_bare(typed: str, name: str) -> None:
    assert DomainForm.base_fields["name"].clean(typed) == name


@pytest.mark.parametrize(
    "typed", ["localhost", "mail_example.com", "-a.example", "192.0.2.1", "a..b", "x" * 64 + ".example"]
)
def test_what_is_no_domain(typed: str) -> None:
    with pytest.raises(Exception, match="domain name"):
        DomainForm.base_fields["name"].clean(typed)


@pytest.mark.parametrize(
    ("sender", "fine"),
    [("test@mail.larkfield.example", True), ("test@MAIL.larkfield.example", True), ("test@larkfield.example", False)],
)
def test_the_sender_is_at_the_domain(sender: str, fine: bool) -> None:
    typed = {"sender": sender, "recipient": "nadia@postkeeper.example", "client_token": "a" * 32}
    assert TestMessageForm(typed, domain="mail.larkfield.example").is_valid() is fine
