"""Every sample, damaged in thousands of ways: no exception but ours, and no zero that nobody sent."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from portal.providers import CatalogEntry, ProviderError, ProviderOffering, Usage
from tests.support.samples import is_proof

from .samples import SAMPLES, Sample
from .support import Canned, sendgrid

ODD: list[Any] = [
    None, True, False, 0.5, -1, -0.0, 10**30, 1e308, "", " ", "zero", "-5", "1,000", "\x00", "\ud800", "9" * 400,
    "2026-13-45", "0001-01-01", "9999-12-31", [], {}, [[]], [None], {"": None}, {"message": 1}, "<b>", "a" * 9000,
]  # fmt: skip
TRIES, EXAMPLES = (2_000, 200) if is_proof() else (300, 40)


LAST_PAGE = b'{"accounts": [], "pages": {}}'


class Wire:
    """One client whose every request gets `body`, at the place where requests would open a connection. A further page
    of a list is empty."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.provider = sendgrid()

    def outcome(self, body: bytes) -> Any:
        def send(_adapter: HTTPAdapter, request: requests.PreparedRequest, **_: Any) -> requests.Response:
            further = "offset=" in (request.url or "")
            return Canned.response(200, LAST_PAGE) if further else Canned.response(self.sample.status, body)

        with patch.object(HTTPAdapter, "send", send):
            try:
                return self.sample.ask(self.provider)
            except ProviderError as error:
                json.dumps([str(error), repr(error.evidence)], ensure_ascii=False).encode()
                return None


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from paths(inner, (*at, key))


def changed(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """`value` with what stands at `at` replaced, or removed where `new` is Ellipsis."""
    if not at:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(at) == 1 and new is ...:
        del copy[at[0]]
    else:
        copy[at[0]] = changed(copy[at[0]], at[1:], new)
    return copy


def damaged(sample: Sample, rng: random.Random) -> bytes:
    """One to three mutations, of the structure or of the bytes."""
    if sample.body.startswith(b"<") or rng.random() < 0.25:
        body = bytearray(sample.body)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(body) + 1)
            body[at : at + rng.choice([0, 1, 1, 5, 60])] = rng.choice(
                [b"", b"<", b"\xff", b"&x;", b"0", b'"', b"]", b"\x00"]
            )
        return bytes(body)
    value = json.loads(sample.body)
    for _ in range(rng.randint(1, 3)):
        at = rng.choice([path for path in paths(value) if path] or [()])
        value = changed(value, at, ... if at and rng.random() < 0.2 else rng.choice(ODD))
    return json.dumps(value).encode()


def sane(found: Any, body: bytes) -> None:
    """What came out can be kept, and holds nothing that was not sent, above all no zero."""
    repr(found).encode()
    if isinstance(found, Usage):
        counts = [found.used, found.allowed, found.remaining, found.overage, found.requests]
        assert all(count is None or count >= 0 for count in counts)
        if not re.search(rb"(?<![\d.])0(?!\d)", body):
            assert 0 not in counts
        json.dumps(found.raw, ensure_ascii=False).encode()
    if isinstance(found, dict):  # statistics
        assert all(type(count) is int and count >= 0 for count in found.values())
    for offering in found if isinstance(found, list) else []:
        if isinstance(offering, CatalogEntry):
            assert all(type(amount) is int and amount >= 0 for amount in offering.entitlements.values())
        if isinstance(offering, ProviderOffering):
            assert offering.name
            assert type(offering.quantity) is int


@pytest.mark.parametrize("name", SAMPLES)
def test_damage_of_every_kind(name: str) -> None:
    sample = SAMPLES[name]
    rng = random.Random(f"seed {name}")
    wire = Wire(sample)
    intact = wire.outcome(sample.body)
    same = 0
    for _ in range(TRIES):
        body = damaged(sample, rng)
        found = wire.outcome(body)
        sane(found, body)
        same += found == intact
    assert name == "refusal" or same < TRIES / 2  # the damage does reach the reader


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["accounts", "id", "pages", "last", "offerings", "state", "used", "errors", "message",
                         "credits_used", "error", "name", "type", "quantity", "catalog", "offering"]) | st.text(),
        inner, max_size=5),
    max_leaves=15,
)  # fmt: skip


WIRES = [Wire(sample) for sample in SAMPLES.values()]


@given(body=ANY_JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=300))
@settings(max_examples=EXAMPLES, database=None)
def test_bodies_from_nowhere(body: bytes) -> None:
    for wire in WIRES:
        sane(wire.outcome(body), body)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_themselves_are_read(name: str) -> None:
    sample = SAMPLES[name]
    assert (Wire(sample).outcome(sample.body) is None) is (name == "refusal")
