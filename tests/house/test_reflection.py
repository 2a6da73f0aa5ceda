"""Hostile inputs at every form, header and parameter of every route: no server error, and no answer that acts."""

from __future__ import annotations

import os
import random

import pytest

from tests.customers.conftest import Desk, desk  # noqa: F401 - a fixture
from tests.house.hostile import Attempt, Reply, World
from tests.house.reflections import Input, dangers, inputs, mistakes, places
from tests.support.samples import SEED, is_proof

MANY = int(os.environ.get("HOSTILE_INPUTS", "10000" if is_proof() else "600"))


@pytest.mark.long
def test_no_input_is_an_error_or_comes_back_raw(desk: Desk) -> None:  # noqa: F811 - the fixture
    """Every place of every route once in `make proof`, at least 10,000 inputs; 600 of them otherwise."""
    world = World(desk)
    world.explore()
    rng = random.Random(SEED)
    wanted = max(MANY, sum(map(len, places(world)))) if is_proof() else MANY
    broken: dict[str, str] = {}
    tried = answered = shown = 0
    for each in inputs(world, rng):
        reply = world.send(each.attempt)
        tried += len(each.values)
        answered += reply.status not in (403, 405)
        shown += any(marker in reply.page for marker in each.values)
        if world.trace:
            broken.setdefault(world.where, f"{each.attempt}\n{world.trace}")
        for mistake in mistakes(each, reply):
            broken.setdefault(f"{each.attempt.url} {mistake[:30]}", f"{each.attempt}\n{mistake}")
        if tried >= wanted:
            break
    print(f"{tried} inputs, {answered} answers of views, {shown} pages show their input")  # noqa: T201
    assert answered > tried / 2
    assert shown > tried / 40
    if broken:
        pytest.fail(f"{len(broken)} of {tried}\n" + "\n\n".join(broken.values()), pytrace=False)


MARK = "zq0qz"


@pytest.mark.parametrize(
    "page",
    [
        f"<script id={MARK}>", f"<img src=x onerror={MARK}>", f"<{MARK}>", f'<a href="javascript:{MARK}">',
        f'<a href=" java\tscript:{MARK}">', f'<a href="//{MARK}.example">', f'<form action="https://{MARK}.example">',
        f"<script>{MARK}</script>", f"<style>{MARK}</style>", f'<p style="{MARK}">', f'<p x {MARK}="">',
        f'<p hx-vals="js:{MARK}">', f'<iframe srcdoc="{MARK}">', f'<meta http-equiv="refresh" content="0;{MARK}">',
    ],
)  # fmt: skip
def test_what_acts_in_a_page_is_found(page: str) -> None:
    assert dangers(page, (MARK,))


@pytest.mark.parametrize(
    "page",
    [
        f"<p>{MARK}</p>", f'<input value="&lt;script id={MARK}&gt;">', f'<a href="/x/?next=//{MARK}.example">',
        f'<script type="application/json">"{MARK}"</script>', f"<textarea>javascript:{MARK}</textarea>",
    ],
)  # fmt: skip
def test_what_is_only_shown_is_not(page: str) -> None:
    assert not dangers(page, (MARK,))


@pytest.mark.parametrize(
    ("header", "value", "page"),
    [
        ("X-Injected", "1", ""), ("Location", f"//{MARK}.example/", ""), ("X", "a\r\nb", ""), ("X", "1", f"49{MARK}"),
        ("X", "1", f"<b>{MARK}"), ("X", "1", "root:x:0:0"),
    ],
)  # fmt: skip
def test_a_bad_answer_is_found(header: str, value: str, page: str) -> None:
    attempt = Attempt("nobody", "GET", "/", [], b"", {})
    asked = Input(attempt, {MARK: f"<b>{MARK}"})
    nosniff = ("X-Content-Type-Options", "nosniff")
    assert mistakes(asked, Reply(200, [(header, value), nosniff], page))
    assert not mistakes(asked, Reply(200, [nosniff], f"&lt;b&gt;{MARK}"))
