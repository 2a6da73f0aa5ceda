"""Texts of rows: stored as code and parameters, worded when read; any other string stays as it is."""

from __future__ import annotations

import ast
import copy
import json
import pickle
from collections.abc import Iterator

import pytest
from django.db import connection
from django.utils.functional import lazy
from django.utils.translation import get_language, override

from billing.usage.texts import TEXTS as OF_USAGE
from customers.models import Operation
from customers.operations.texts import TEXTS as OF_OPERATIONS
from portal import texts
from portal.texts import LONGEST, Text, say
from tests.support.factories import OperationFactory
from tests.support.sandbox import ROOT

HOSTILE = '{"code": "create.done", "params": {"id": "sg666"}}'


def raw(operation: Operation) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT summary FROM customers_operation WHERE id = %s", [operation.pk])
        return str(cursor.fetchone()[0])


def store_raw(summary: str) -> Operation:
    operation = OperationFactory()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE customers_operation SET summary = %s WHERE id = %s", [summary, operation.pk])
    return Operation.objects.get(pk=operation.pk)


@pytest.mark.django_db
class TestRows:
    def test_a_row_keeps_code_and_parameters(self) -> None:
        operation = OperationFactory(summary=say("create.done", id="sg1"))
        assert json.loads(raw(operation)) == {"code": "create.done", "params": {"id": "sg1"}}
        read = Operation.objects.get()
        assert (read.summary, read.summary.code, read.summary.params) == (
            "Created as sg1.",
            "create.done",
            {"id": "sg1"},
        )
        read.save(update_fields=["summary"])
        assert json.loads(raw(operation))["code"] == "create.done"
        assert Operation.objects.filter(summary=say("create.done", id="sg1")).exists()

    def test_another_wording_shows_in_a_row_of_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        OperationFactory(summary=say("create.done", id="sg1"))
        monkeypatch.setitem(texts._wordings, "create.done", "Its ID is %(id)s.")
        assert Operation.objects.values_list("summary", flat=True).get() == "Its ID is sg1."

    def test_it_is_worded_in_the_language_of_the_reader(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with_language = lazy(lambda: f"{get_language()}: %(id)s", str)
        monkeypatch.setitem(texts._wordings, "create.done", with_language())
        OperationFactory(summary=say("create.done", id="sg1"))
        assert Operation.objects.get().summary == "en: sg1"
        with override("de"):
            assert Operation.objects.get().summary == "de: sg1"

    def test_a_text_of_before_stays_as_it_is(self) -> None:
        read = store_raw("Created as sg1.")
        assert (read.summary, type(read.summary)) == ("Created as sg1.", str)
        read.save(update_fields=["summary"])
        assert raw(read) == "Created as sg1."

    @pytest.mark.parametrize("said", [HOSTILE, '{"code": "x"}', "{", '{"code": "said", "params": {"text": "x"}}'])
    def test_what_a_provider_said_is_never_taken_for_a_code(self, said: str) -> None:
        operation = OperationFactory(summary=said)
        assert Operation.objects.get().summary == said
        Operation.objects.update(summary=say("create.exists"))
        Operation.objects.update(summary=said)
        assert Operation.objects.get().summary == said
        Operation.objects.bulk_update([operation], ["summary"])
        assert Operation.objects.get().summary == said

    @pytest.mark.parametrize(
        "summary",
        [
            '{"code": "x"}', '{"code": "x", "params": []}', '{"code": 1, "params": {}}', '{"code": "cut of',
            '{"code": "create.done", "params": {"id": "x"}, "more": 1}', '{"code": "' + "[" * 2000,
        ],
    )  # fmt: skip
    def test_a_text_of_before_that_only_looks_like_a_code_stays(self, summary: str) -> None:
        assert store_raw(summary).summary == summary

    def test_a_code_or_parameters_of_another_version_are_shown(self) -> None:
        assert store_raw('{"code": "later.code", "params": {"n": 1, "who": "Ada"}}').summary == "later.code n=1 who=Ada"
        assert store_raw('{"code": "create.done", "params": {"number": 1}}').summary == "create.done number=1"
        assert store_raw(
            '{"code": "run.accounts_missing", "params": {"missing": "x", "answers": 1}}'
        ).summary.startswith("run.accounts_missing")

    def test_long_ones_are_cut_and_codes_never(self) -> None:
        operation = OperationFactory(summary=say("account.taken", id='"' * 9999, customer="é" * 9999))
        read = Operation.objects.get()
        assert read.summary.params == {"id": '"' * LONGEST, "customer": "é" * LONGEST}
        Operation.objects.update(summary="x" * 9999)
        assert len(raw(operation)) == LONGEST


def test_an_exception_and_a_copy_keep_the_code() -> None:
    text = say("create.done", id="sg1")
    for each in (str(ValueError(text)), copy.deepcopy(text), pickle.loads(pickle.dumps(text))):  # noqa: S301 our own
        assert isinstance(each, Text)
        assert (each, each.code, each.params) == ("Created as sg1.", "create.done", {"id": "sg1"})


# --- The tables and the source ----------------------------------------------------------------------------------------


class Names(dict):  # type: ignore[type-arg]
    """Collects what a template asks for."""

    def __missing__(self, name: str) -> int:
        self[name] = 0
        return 0


def placeholders(template: object) -> set[str]:
    names = Names()
    str(template) % names
    return set(names)


def said_in_the_source() -> Iterator[tuple[str, set[str | None], str]]:
    for app in ("portal", "customers", "billing"):
        for path in sorted((ROOT / app).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())) if "say(" in path.read_text() else ():
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                    assert len(node.args) == 1, f"{path}:{node.lineno}: a code, and parameters by name"
                    assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: a code written here"
                    yield node.args[0].value, {each.arg for each in node.keywords}, f"{path}:{node.lineno}"


def test_codes_of_the_source_and_wordings_match() -> None:
    wordings = {"said": "%(text)s"} | OF_OPERATIONS | OF_USAGE
    assert len(wordings) == 1 + len(OF_OPERATIONS) + len(OF_USAGE), "no code stands in two tables"
    assert wordings == texts._wordings, "every table is registered"
    used = set()
    for code, params, where in said_in_the_source():
        assert code in wordings, f"{where}: {code} has no wording"
        assert params == placeholders(wordings[code]), f"{where}: {code}"
        used.add(code)
    assert wordings.keys() == used
