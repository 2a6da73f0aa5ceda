"""Each parser of input from outside has a bound (docs/reference/limits.md), and hostile input costs little.

Costs are processor time, compared with that of parsing as much of ordinary input in the same run (`floor`)."""

from __future__ import annotations

import ast
import importlib
import io
import json
import pkgutil
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.test import Client
from openpyxl import Workbook

import billing
import customers
import portal
from billing.closing.invoices.csv_file import check_file
from billing.pricing.form_fields import AmountField, UnitsField
from billing.pricing.lists.csv_import import dry_run
from billing.pricing.parallel import xlsx_reader
from billing.pricing.parallel.spreadsheet import read_sheet
from billing.pricing.parallel.xlsx_reader import UnreadableWorkbook, read_workbook
from customers.reconcile.import_list import read_list
from portal import input_bounds, query_params
from portal.access.credentials import CredentialField
from portal.access.places import page_behind
from portal.email_addresses import domain_key, mailbox_key
from portal.input_bounds import read_json_input
from portal.providers import parsing, xml_bounds
from portal.providers.parsing import NotReadableError
from portal.providers.sendgrid import sign_in as sendgrid_sign_in
from portal.refusals import Refusal
from tests.support.factories import PASSWORD, UserFactory

ROOT = Path(__file__).resolve().parents[2]
LIMITS = ROOT / "docs" / "reference" / "limits.md"
MB = 1_000_000
# A hostile input may cost this many times as much as ordinary input of 5 MB. The worst is about three times.
TIMES = 12


def cost(act: Callable[[], object]) -> float:
    """Return the processor time of a call, whether it refuses or not."""
    begin = time.process_time()
    with suppress(ValueError, Refusal, UnreadableWorkbook, ArithmeticError, ValidationError):
        act()
    return time.process_time() - begin


def begins(value: object) -> str:
    """Return the ID of a case."""
    return ascii(value)[:12] if isinstance(value, str) else type(value).__name__


@pytest.fixture(scope="module")
def floor() -> float:
    """Return what it costs to read 5 MB of ordinary JSON."""
    row = {
        "id": 4711,
        "email": "ops@northwind.example",
        "used": 402118,
        "tags": ["a", "b"],
        "at": "2026-11-30T12:00:00Z",
    }
    body = json.dumps([row] * 40_000).encode()[: 5 * MB].rpartition(b", {")[0] + b"]"
    return max(0.02, min(cost(lambda: parsing.read_json(body)) for _ in range(3)))


# --- What a provider sends --------------------------------------------------------------------------------------------

XML = {
    "nested": b"<a>" * 300_000 + b"</a>" * 300_000,
    "never closed": b"<a>" * 1_600_000,
    "flat": b"<a>" + b"<b/>" * 1_200_000 + b"</a>",
    "entities": b'<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">]><a>&b;</a>',
    "an empty document type": b"<!DOCTYPE a><a/>",
    "a prolog without end": b"<?xml " + b"encoding " * 500_000,
}


@pytest.mark.parametrize("what", XML)
def test_xml_of_a_provider(what: str, floor: float) -> None:
    with pytest.raises(NotReadableError):
        parsing.read_xml(XML[what])
    assert cost(lambda: parsing.read_xml(XML[what])) < TIMES * floor


@pytest.mark.long
def test_xml_up_to_its_bounds_is_read(floor: float) -> None:
    deep, most = xml_bounds.DEEPEST, xml_bounds.MOST_ELEMENTS
    assert parsing.read_xml(b"<a>" * deep + b"</a>" * deep).tag == "a"
    assert len(parsing.read_xml(b"<a>" + b"<b/>" * (most - 1) + b"</a>")) == most - 1
    for one_more in (b"<a>" * (deep + 1) + b"</a>" * (deep + 1), b"<a>" + b"<b/>" * most + b"</a>"):
        with pytest.raises(NotReadableError):
            parsing.read_xml(one_more)
    assert parsing.read_xml("<?xml version='1.0' encoding='utf-16'?><a>é</a>".encode("utf-16")).text == "é"
    attributes = b"<a " + b" ".join(b'a%d="1"' % n for n in range(300_000)) + b"/>"
    assert cost(lambda: parsing.read_xml(attributes)) < 4 * TIMES * floor


JSON = {
    "nested lists": b"[" * 5 * MB,
    "nested objects": b'{"a":' * MB,
    "lists of nothing": b"[" + b"[]," * 1_600_000 + b"[]]",
    "a whole number": b"9" * 5 * MB,
    "a fraction": b"0." + b"9" * 4_900_000,
    "an exponent": b"1e999999999",
    "a text": b'"' + b"\\u0000" * 800_000 + b'"',
    "no number": b'{"a": NaN}',
    "many keys": json.dumps({f"k{n}": n for n in range(300_000)}).encode(),
}


@pytest.mark.parametrize("what", JSON)
def test_json_of_a_provider(what: str, floor: float) -> None:
    assert cost(lambda: parsing.read_json(JSON[what])) < TIMES * floor
    if what in ("nested lists", "nested objects", "a whole number", "no number"):
        with pytest.raises(NotReadableError):
            parsing.read_json(JSON[what])


READERS = (
    parsing.read_number, parsing.whole, parsing.read_count, parsing.read_money, parsing.percent, parsing.read_day,
    parsing.moment, parsing.text,
)  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        Decimal("1e999999999"), Decimal("1e-999999999"), Decimal("0." + "9" * MB), Decimal("9" * MB), 10**4_000,
        "9" * 5 * MB, "1 " + "000 " * MB, "1." + "0" * 5 * MB, "2026-01-01T" + "0" * 5 * MB,
        "2026-01-01" + " " * 5 * MB,
        " " * 5 * MB, "\x00" * 5 * MB, [[]] * 9, {"a": {}},
    ],
    ids=begins,
)  # fmt: skip
def test_values_of_a_provider(value: Any, floor: float) -> None:
    for read in READERS:
        assert cost(lambda read=read: read(value)) < TIMES * floor, read.__name__  # type: ignore[misc]  # a default
        if read is not parsing.text:
            found = read(value)
            assert found is None or len(str(found)) < 40 or isinstance(found, Decimal)


# --- What browsers and people send ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 40_000, "9" * 5_000, "[" + "1," * 200_000 + "1]", "{"], ids=begins
)
def test_json_of_a_form(text: str, floor: float) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_json_input(text)
    assert cost(lambda: read_json_input(text)) < floor
    assert cost(lambda: CredentialField(required=False).clean(text)) < floor


def test_json_of_a_form_up_to_its_bound() -> None:
    whole = "[" + "1," * ((input_bounds.LONGEST - 4) // 2) + "1]"
    assert len(read_json_input(whole)) > 100_000
    assert read_json_input('{"a": 1.50}', parse_float=Decimal) == {"a": Decimal("1.50")}
    with pytest.raises(ValueError, match="too long"):
        read_json_input(whole + " " * 10)


@pytest.mark.django_db
def test_a_form_is_bounded() -> None:
    client = Client(raise_request_exception=False)
    assert client.post("/sign-in/", {"login": "x" * 2_200_000}).status_code == 400
    assert client.post("/sign-in/", {f"f{n}": "" for n in range(2_001)}).status_code == 400
    query = "&".join(f"f{n}=" for n in range(2_001))
    assert client.get(f"/sign-in/?{query}").status_code == 400
    files = {f"f{n}": io.BytesIO(b"x") for n in range(101)}
    assert client.post("/sign-in/", files).status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize(
    "value", ["9" * 100_000, "1e" + "9" * 1_000, "0." + "9" * 100_000, "-" * 100_000, "\u0661" * 5_000], ids=begins
)
def test_numbers_of_a_form(value: str, floor: float) -> None:
    fields = [
        forms.IntegerField(max_value=10), forms.DecimalField(max_digits=9, decimal_places=2), forms.DateField(),
        forms.DateTimeField(), forms.UUIDField(), forms.EmailField(), AmountField(label="Amount"),
        UnitsField(label="Units", most=10),
    ]  # fmt: skip
    for field in fields:
        assert cost(lambda field=field: refused(field.clean, value)) < 4 * floor  # type: ignore[misc]  # a default


def refused(act: Callable[[str], object], value: str) -> None:
    with pytest.raises(ValidationError):
        act(value)


@pytest.mark.parametrize(
    "text", ["9" * MB, "a-" * MB, "2026-01-01" * 100_000, "\x00" * MB, ",".join(["x"] * MB), "é" * MB]
)
def test_texts_of_a_url(text: str, floor: float) -> None:
    for read in (query_params.line, query_params.searchable, query_params.uuid_or_none, query_params.uuids_or_none,
                 query_params.day_or_none, query_params.moment_or_none, query_params.own_path_or_none):  # fmt: skip
        assert cost(lambda read=read: read(text)) < TIMES * floor, read.__name__  # type: ignore[misc]  # a default
    assert len(query_params.line(text)) <= query_params.LONGEST
    assert query_params.uuids_or_none(text) is None


@pytest.mark.parametrize(
    "text", ["http://[" * 1_000, "//" * 4_000, "http://" + "a@" * 4_000, "/" * 8_000, "/a/../" * 1_300]
)
def test_urls(text: str, floor: float) -> None:
    request = HttpRequest()
    request.META |= {"HTTP_HOST": "testserver", "HTTP_REFERER": text, "SERVER_NAME": "testserver", "SERVER_PORT": "80"}
    request.method = "POST"
    page_behind(request)  # the first call reads all routes
    assert cost(lambda: page_behind(request)) < floor
    assert cost(lambda: sendgrid_sign_in.trusted(text, ["sendgrid.com"])) < floor


@pytest.mark.django_db
@pytest.mark.parametrize(
    "cookie", ["a=b; " * 1_600, "sessionid=" + "x" * 8_000, 'messages="' + "\\" * 8_000, "=" * 8_000]
)
def test_cookies_are_bounded(cookie: str, floor: float) -> None:
    client = Client(raise_request_exception=False)
    client.get("/sign-in/")
    begin = time.process_time()
    assert client.get("/sign-in/", headers={"Cookie": cookie}).status_code == 200
    assert time.process_time() - begin < TIMES * floor


@pytest.mark.django_db
def test_a_long_password(floor: float) -> None:
    user = UserFactory()
    client = Client(raise_request_exception=False)
    usual = cost(lambda: client.post("/sign-in/", {"login": user.email, "password": PASSWORD + "x"}))
    assert cost(lambda: client.post("/sign-in/", {"login": user.email, "password": "x" * MB})) < usual + TIMES * floor


@pytest.mark.parametrize(
    "text", ["x@" + "a" * MB, "é" * MB, "a." * 500_000, "@" * MB, "\u0301" * MB, "xn--" * 250_000], ids=begins
)
def test_email_addresses(text: str, floor: float) -> None:
    assert cost(lambda: mailbox_key(text)) < TIMES * floor
    assert cost(lambda: domain_key(text)) < TIMES * floor


# --- Files ------------------------------------------------------------------------------------------------------------

COMMAS = b"," * MB
TABLES = {
    "a million columns": COMMAS + b"\n" + b"x,1\n" * 20_000,
    "a million names": b",a" * MB + b"\n" + b"x,1\n" * 20_000,
    "a row of commas": b"\n" + COMMAS * 3,
    "one cell": b"\nx," + b"x" * 4 * MB,
    "quotes": b"\n" + b'"' * 4 * MB,
    "quotes and breaks": b'\n"' + b"\n" * 4 * MB,
    "empty lines": b"\n" * 4 * MB,
    "short rows": b"\n" + b"x,1\n" * 300_000,
    "NUL": b"\n" + b"\x00" * MB,
}
TABLE_READERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "parallel month": (b"customer,amount", lambda data: read_sheet("a.csv", data, decimal=".", currency="EUR")),
    "invoice": (
        b"invoice number,invoice date,currency,account,amount",
        lambda data: check_file(io.BytesIO(data), decimal="."),
    ),
    "accounts": (b"provider_id,email", read_list),
    "price list": (
        b"offering,component,amount",
        lambda data: dry_run(
            data[:MB].decode("utf-8", "replace"), stored=[], provider_kind="sendgrid", offerings=[]
        ),
    ),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("reader", TABLE_READERS)
@pytest.mark.parametrize("what", TABLES)
def test_tables(what: str, reader: str, floor: float) -> None:
    header, read = TABLE_READERS[reader]
    assert cost(lambda: read(header + TABLES[what])) < 4 * TIMES * floor


def test_more_columns_than_a_table_may_have() -> None:
    most = input_bounds.MOST_COLUMNS
    for reader in ("parallel month", "accounts", "invoice"):
        header, read = TABLE_READERS[reader]
        said = str(told(read, header + b",a" * most + b"\n" + b"x,1\n"))
        assert f"more than {most} columns" in said, reader
        assert "columns. Remove" not in str(told(read, header + b",a" * (most - 10) + b"\n" + b"x,1\n")), reader


def told(read: Callable[[bytes], object], data: bytes) -> object:
    try:
        return read(data)
    except Refusal as refusal:
        return refusal


HEAD = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
TAIL = b"</sheetData></worksheet>"
SHEETS = {
    "nested": b"<a>" * MB + b"</a>" * MB,
    "rows without number": b"<row/>" * MB,
    "cells": b"<row>" + b"<c/>" * MB + b"</row>",
    "a row of a high number": b'<row r="1000000000"><c r="A1000000000"><v>1</v></c></row>',
    "a row whose number is none": b'<row r="x"><c r="A1"><v>1</v></c></row>',
    "a number of many digits": b'<row r="1"><c r="A1"><v>' + b"9" * 100_000 + b"</v></c></row>",
    "a prefix": b'<x:row xmlns:x="http://schemas.openxmlformats.org/spreadsheetml/2006/main" r="900000000"/>',
    "an unknown entity": b"<row>&x;</row>",
    "zeros": b"<row><c><v>" + b"0" * (xlsx_reader.MOST_UNPACKED + 1) + b"</v></c></row>",
}


def workbook(sheet: bytes, *, part: str = "xl/worksheets/sheet1.xml", raw: bool = False) -> bytes:
    """Return an Excel file whose sheet (or another part) is this."""
    book, made, changed = Workbook(), io.BytesIO(), io.BytesIO()
    book.active.append(["customer", "amount"])  # type: ignore[union-attr]  # a new workbook has a sheet
    book.save(made)
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            if name != part:
                target.writestr(name, source.read(name))
        target.writestr(part, sheet if raw else HEAD + sheet + TAIL)
    return changed.getvalue()


@pytest.mark.long
@pytest.mark.parametrize("what", SHEETS)
def test_workbooks(what: str, floor: float) -> None:
    data = workbook(SHEETS[what])
    with pytest.raises(UnreadableWorkbook):
        read_workbook(data)
    assert cost(lambda: read_workbook(data)) < 2 * TIMES * floor


@pytest.mark.long
@pytest.mark.parametrize("part", ["xl/sharedStrings.xml", "xl/styles.xml", "xl/workbook.xml", "[Content_Types].xml"])
def test_each_part_of_a_workbook_is_bounded(part: str, floor: float) -> None:
    for bad in (b"<a>" * 100_000 + b"</a>" * 100_000, b"<a>" + b"<b/>" * 600_000 + b"</a>"):
        data = workbook(bad, part=part, raw=True)
        with pytest.raises(UnreadableWorkbook):
            read_workbook(data)
        assert cost(lambda data=data: read_workbook(data)) < TIMES * floor  # type: ignore[misc]  # a default


@pytest.mark.long
def test_a_workbook_that_lies_about_its_size() -> None:
    data = bytearray(workbook(b"<row><c><v>" + b"0" * (2 * xlsx_reader.MOST_UNPACKED) + b"</v></c></row>"))
    true = len(HEAD + TAIL) + 2 * xlsx_reader.MOST_UNPACKED + len(b"<row><c><v></v></c></row>")
    lie = data.replace(true.to_bytes(4, "little"), (1_000).to_bytes(4, "little"))
    assert lie != data
    with pytest.raises(UnreadableWorkbook):
        read_workbook(bytes(lie))


@pytest.mark.long
def test_a_workbook_up_to_its_bounds_is_read() -> None:
    rows = b'<row r="%d"><c r="A%d"><v>1</v></c></row>' % (xlsx_reader.LAST_ROW, xlsx_reader.LAST_ROW)
    assert read_workbook(workbook(rows)) == [(xlsx_reader.LAST_ROW, [Decimal(1)])]


# --- Regular expressions ----------------------------------------------------------------------------------------------

UNITS = (
    "a", "1", " ", "-", ".", ",", "'", "\\", "(", "%s,", "\t", "\n", "a.", "1,", '"', "<", ">", "=", "&", "/", "a-",
    "()", "('a'),", "SG.", "api_key=", '"password":"', "Bearer ", "@", "a@", "_", "+", "\xe9", "\x00",
)  # fmt: skip
SHORT, LONG = 500, 2_000


def _modules() -> Iterator[ModuleType]:
    for package in (portal, customers, billing):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            parts = set(found.name.split("."))
            if not parts & {"migrations", "demo", "sandbox", "management", "wsgi", "gunicorn", "gunicorn_answers"}:
                yield importlib.import_module(found.name)


def _patterns() -> dict[str | bytes, tuple[str, re.Pattern[Any]]]:
    """Every compiled pattern of a module, also inside a tuple of tuples."""
    found: dict[str | bytes, tuple[str, re.Pattern[Any]]] = {}

    def note(where: str, value: object) -> None:
        if isinstance(value, re.Pattern):
            found.setdefault(value.pattern, (where, value))
        elif isinstance(value, tuple | list):
            for each in value:
                note(where, each)

    for module in _modules():
        for name, value in vars(module).items():
            note(f"{module.__name__}.{name}", value)
    return found


def _worst(pattern: re.Pattern[Any], length: int, units: tuple[str, ...] = UNITS) -> tuple[float, str]:
    worst = (0.0, "")
    for unit in units:
        for head, tail in (("", "!"), ('"', "\x00")):
            text: Any = head + unit * (length // len(unit)) + tail
            text = text.encode() if isinstance(pattern.pattern, bytes) else text
            spent = cost(lambda text=text: (pattern.fullmatch(text), pattern.search(text)))  # type: ignore[misc]
            worst = max(worst, (spent, unit))
    return worst


@pytest.mark.long
def test_regular_expressions() -> None:
    """Four times the length costs at most sixteen times as much: nothing is cubic or exponential."""
    patterns = _patterns()
    assert len(patterns) > 40
    for where, pattern in patterns.values():
        short, unit = _worst(pattern, SHORT)
        assert short < 0.5, (where, unit)
        longer, unit = _worst(pattern, LONG, (unit,))
        assert longer < 40 * max(short, 0.001), (where, unit)


def test_a_slow_expression_is_found() -> None:
    assert _worst(re.compile(r"(?:a+)+b"), 24, ("a",))[0] > 0.05


# --- The list is complete ---------------------------------------------------------------------------------------------

BY_NAME = {
    "fromstring", "iterparse", "ParserCreate", "ZipFile", "load_workbook", "b64decode", "urlsplit", "urlparse",
    "parse_qs", "parse_qsl", "fromisoformat", "parse_datetime", "parse_date", "strptime", "UUID", "ip_address",
    "literal_eval", "get_unverified_header", "PyJWK", "SimpleCookie", "read_json_input", "read_json", "read_xml",
    "count_elements", "decompress", "DictReader", "safe_load", "unpackb", "unsign_object",
}  # fmt: skip
BY_PATH = {
    "json.loads", "json.load", "tomllib.loads", "tomllib.load", "csv.reader", "jwt.decode", "idna.encode",
    "idna.decode", "yaml.load", "pickle.loads", "pickle.load", "marshal.loads",
}  # fmt: skip
# The simulator of providers and the demo are no part of an installation.
ELSEWHERE = {"sandbox", "demo", "migrations"}


def parsers_in(source: str) -> set[str]:
    """Return the parsers that a module calls or hands on."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            held = [node.func, *node.args, *(each.value for each in node.keywords)]
            named |= {ast.unparse(each) for each in held if isinstance(each, ast.Attribute | ast.Name)}
    return {each for each in named if each in BY_PATH or each.rpartition(".")[2] in BY_NAME}


def test_each_parser_is_listed_with_its_bound() -> None:
    used = {
        str(path.relative_to(ROOT))
        for folder in ("portal", "customers", "billing")
        for path in (ROOT / folder).rglob("*.py")
        if not ELSEWHERE & set(path.parts) and parsers_in(path.read_text(encoding="utf-8"))
    }
    text = LIMITS.read_text(encoding="utf-8")
    parts = text[text.index("## Parsers of input") :]
    listed = set(re.findall(r"`((?:portal|customers|billing)/[\w/]+\.py)`", parts))
    assert used - listed == set(), "add a row with its bound and its test to docs/reference/limits.md"
    assert listed - used == {"portal/access/sso/wire.py"} & (listed - used), "no parser is there any more"


def test_each_row_names_a_test_that_exists() -> None:
    text = LIMITS.read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ") and line.count("|") == 5]
    named = [row[-2].strip().strip("`") for row in rows if row[-2].strip() not in ("Test", "")]
    assert len(named) > 25
    here = Path(__file__).read_text(encoding="utf-8")
    for each in named:
        if each.startswith("test_") and ".py" not in each:
            assert f"def {each}(" in here, each
        else:
            path = ROOT / (each if each.startswith("tests/") else f"tests/house/{each.partition('::')[0]}")
            assert path.exists(), each


@pytest.mark.parametrize(
    "line",
    ["json.loads(x)", "csv.reader(x)", "ElementTree.fromstring(x)", "map(date.fromisoformat, x)", "ZipFile(x)",
     "yaml.safe_load(x)", "gzip.decompress(x)", "idna.decode(x)", "sorted(x, key=json.loads)"],
)  # fmt: skip
def test_a_new_parser_is_seen(line: str) -> None:
    assert parsers_in(f"def read(x):\n    return {line}\n")
    assert not parsers_in("import json\n\ndef write(x):\n    return json.dumps(x)\n")


def test_no_expression_is_made_of_input() -> None:
    """`re` with a pattern that isn't a literal: only where its parts are escaped or our own."""
    known = {
        "portal/guides.py", "portal/whole_words.py", "portal/audit/redaction.py",
        "billing/pricing/parallel/spreadsheet.py",
    }  # fmt: skip
    found = set()
    for folder in ("portal", "customers", "billing"):
        for path in (each for each in (ROOT / folder).rglob("*.py") if not ELSEWHERE & set(each.parts)):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.") and node.args:
                    if ast.unparse(node.func) == "re.escape" or _is_ours(node.args[0]):
                        continue
                    found.add(str(path.relative_to(ROOT)))
    assert found == known


def _is_ours(pattern: ast.expr) -> bool:
    """Return whether a pattern is a literal, or one with constants of the module in it."""
    if isinstance(pattern, ast.JoinedStr):
        held = [each.value for each in pattern.values if isinstance(each, ast.FormattedValue)]
        return all(isinstance(each, ast.Name) and each.id.isupper() for each in held)
    return isinstance(pattern, ast.Constant) or (isinstance(pattern, ast.Name) and pattern.id.isupper())
