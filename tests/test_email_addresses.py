"""Which addresses are the same mailbox."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.email_addresses import mailbox_key, same_mailbox, spellings

SAME = [
    ("info@müller-idn.example", "info@xn--mller-idn-q9a.example"),
    ("Info@MÜLLER-IDN.example", "info@xn--mller-idn-q9a.example"),
    ("ops@Northwind.Example", "OPS@northwind.example"),
    ("ops@northwind.example.", "ops@northwind.example"),
    (" ops@northwind.example", "ops@northwind.example"),
    ("ops@\uff4eorthwind.example", "ops@northwind.example"),
    ("ops@northwind。example", "ops@northwind.example"),
    ("jose\u0301@northwind.example", "jos\u00e9@northwind.example"),
    ("ops@straße.example", "ops@xn--strae-oqa.example"),
    ("ops@foo_bar.example", "OPS@FOO_BAR.example"),
]
DIFFERENT = [
    ("straße@northwind.example", "strasse@northwind.example"),
    ("ops@straße.example", "ops@strasse.example"),
    ("ops@northwind.example", "ops@globex.example"),
    ("a.b@northwind.example", "ab@northwind.example"),
    ("ops+1@northwind.example", "ops@northwind.example"),
    ("", ""),
    ("", "ops@northwind.example"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_mailbox_are_equal(one: str, other: str) -> None:
    assert same_mailbox(one, other)
    assert same_mailbox(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_mailboxes_are_different(one: str, other: str) -> None:
    assert not same_mailbox(one, other)


@pytest.mark.parametrize(
    "odd", ["ops@", "@", "ops", "ops@..", "ops@xn--zz--.example", f"a@{'x' * 300}.example", "a@\ud800"]
)
def test_an_invalid_domain_is_compared_as_it_is(odd: str) -> None:
    assert same_mailbox(odd, odd)
    assert not same_mailbox(odd, "ops@northwind.example")


@given(st.text())
@pytest.mark.long
def test_no_text_raises_and_the_key_is_stable(text: str) -> None:
    assert mailbox_key(mailbox_key(text)) == mailbox_key(text)
    assert text in spellings(text) or text != text.strip()


def test_the_spellings_of_a_domain_are_both_found() -> None:
    assert set(spellings("info@xn--mller-idn-q9a.example")) == {
        "info@xn--mller-idn-q9a.example", "info@müller-idn.example",
    }  # fmt: skip
