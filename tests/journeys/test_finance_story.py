"""Finance's month in a real browser on real processes, for each provider: what blocks an ended month is decided, the
provider's invoice is compared, another person approves, the month closes, and a late figure is billed in the next."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.billing.closing.accounting_reader import rows_of, totals_of
from tests.journeys.desk import Desk
from tests.journeys.ended_month import CUSTOMERS, ended_month
from tests.journeys.processes import PASSWORD, Installation, installation
from tests.support import template
from tests.support.ahasend import AHASEND_ACCOUNT
from tests.support.postgres import Postgres

pytestmark = [pytest.mark.long, pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("journeys")]

FINANCE, APPROVER = "finn@postkeeper.example", "ada@postkeeper.example"
PEOPLE = f"""
from django.utils import timezone
from portal.access.models import User
from portal.approvals.models import ApprovalRule
User.objects.create_user("{FINANCE}", "{PASSWORD}", name="Finn Okafor", role="finance")
User.objects.create_user("{APPROVER}", "{PASSWORD}", name="Ada Moreau", role="admin")
ApprovalRule.objects.create(kind="close_month", is_on=True, on_since=timezone.now(), threshold=1)
"""
CLOSED = """
import json
from billing.models import Statement
rows = Statement.objects.filter(side="sell", state="closed").order_by("number").select_related("customer")
print(json.dumps([[f"{row.number:06}", row.currency, row.total_minor, row.digest, row.customer.company_name,
    list(row.lines.order_by("n").values_list("kind", "quantity", "amount_minor"))] for row in rows]))
"""
LARKFIELD, NORTHWIND, TALLGRASS = CUSTOMERS
TODAY = datetime.now(UTC).date()
MONTH = ended_month(TODAY)
NEXT = (MONTH + timedelta(days=31)).replace(day=1)
A4 = (595, 842)


def in_url(month: date) -> str:
    return f"{month:%Y-%m}"


@pytest.fixture
def portal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Installation]:
    """An installation on the database of the run: with PostgreSQL, in a database of its own."""
    services = {}
    if os.environ.get("TEST_DATABASE") == "postgres":
        server: Postgres = request.getfixturevalue("postgres_server")
        template.prepare(server)
        services["DATABASE_URL"] = server.url_of(template.DATABASE)
    with installation(tmp_path / "data", **services) as one:
        if not services:
            one.prepare()
        one.python(PEOPLE)
        one.start_web()
        yield one
    if services:
        server.client("psql", "-c", f"DROP DATABASE {template.DATABASE}")


@pytest.fixture
def desks(browser: Browser, portal: Installation) -> Iterator[Callable[[str], Desk]]:
    found: list[Desk] = []

    def sit_down(name: str) -> Desk:
        found.append(Desk(browser, portal.url, name))
        return found[-1]

    yield sit_down
    for desk in found:
        desk.close()


def test_a_month_of_sendgrid(portal: Installation, desks: Callable[[str], Desk]) -> None:
    begin(portal, "sendgrid")
    finance = desks("finance")
    finance.sign_in(FINANCE, PASSWORD)
    open_month(finance)
    assign_first(finance)
    decide_anomaly(finance, LARKFIELD, "Correction")
    decide_figure(finance, LARKFIELD, "Enter the number", "135000")
    decide_figure(finance, NORTHWIND, "Use the usage known so far")
    type_invoice(finance)
    accept_difference(finance, "€12.50")
    approver = close_with_approval(finance, desks, portal, held_back=0)
    closings = finance.page.get_by_role("region", name="Closings")
    expect(closings).to_contain_text("1 of them exact in money, with a quantity of at least the number shown")
    closed = read_closed(portal, 3)
    print_statement(finance, closed)
    export_accounting(finance, closed)
    admin = portal.sandbox.admin
    [there] = [each for each in admin.accounts() if each["email"] == "ops1@company.example"]
    start, end = MONTH - timedelta(days=15), MONTH.replace(day=16)
    late = {"used": 140_000, "total": 100_000, "overage": 40_000, "remain": 0}
    late_dates = {"last_reset": f"{start.replace(day=16)}", "next_reset": f"{end}"}
    override = {"operation": "credits", "fields": late | late_dates, "count": 1}
    admin.call("POST", f"accounts/{there['id']}/overrides", override)
    adjust(finance, portal, NORTHWIND, "€17.00", closed)
    end_story(portal, finance, approver)


def test_a_month_of_a_shared_invoice(portal: Installation, desks: Callable[[str], Desk]) -> None:
    begin(portal, "ahasend")
    finance = desks("finance")
    finance.sign_in(FINANCE, PASSWORD)
    open_month(finance)
    assign_first(finance)
    decide_anomaly(finance, LARKFIELD, "Right")
    decide_figure(finance, LARKFIELD, "Use the usage known so far")
    decide_figure(finance, NORTHWIND, "Enter the number", "125000")
    import_invoice(finance)
    accept_difference(finance, "€7.50")
    approver = close_with_approval(finance, desks, portal, held_back=1)
    closed = read_closed(portal, 2)
    print_statement(finance, closed)
    export_accounting(finance, closed)
    admin = portal.sandbox.admin
    admin.call("DELETE", f"aha/accounts/{AHASEND_ACCOUNT}/overrides")  # the provider counts all emails again
    hours = (TODAY - MONTH.replace(day=20)).days * 24
    admin.aha.change(AHASEND_ACCOUNT, switches={"aha_ended_period_hours": hours})
    adjust(finance, portal, LARKFIELD, "€14.00", closed)
    end_story(portal, finance, approver)


# --- Chapters -----------------------------------------------------------------------------------------------------


def begin(portal: Installation, provider: str) -> None:
    portal.python(f"from tests.journeys import ended_month\nended_month.{provider}('{TODAY}')")


def open_month(desk: Desk) -> None:
    page = desk.page
    page.goto("/")
    page.get_by_role("link", name="Month close").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Month close")
    page.goto(f"/months/{in_url(MONTH)}/")
    expect(page.locator(".bl-stage-in_review")).to_be_visible()
    found = page.locator("#list tbody tr td:nth-child(3)").all_inner_texts()
    known = [amount_of(text) for text in found]
    assert known == sorted(known, reverse=True), "those with the most money first"
    assert len(known) >= 3
    desk.shot("50-month", everywhere=True)


def amount_of(text: str) -> Decimal:
    """Return the amount of a cell; what nothing limits comes first."""
    digits = re.sub(r"[^\d.]", "", text)
    return Decimal(digits) if digits else Decimal("Infinity")


def assign_first(desk: Desk) -> None:
    page = desk.page
    first = page.locator("#list tbody tr").first
    first.get_by_role("link", name="Assign").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Owner").select_option(label="Finn Okafor")
    dialog.get_by_label("Due date").fill(f"{TODAY + timedelta(days=2)}")
    desk.shot("51-assign")
    dialog.get_by_role("button", name="Assign").click()
    expect(dialog).to_be_hidden()
    expect(first).to_contain_text("Finn Okafor")


def blocker_of(page: Page, customer: str) -> Locator:
    """The page of the month with what blocks a customer."""
    page.goto(f"/months/{in_url(MONTH)}/")
    row = page.locator("#list tbody tr", has_text=customer)
    expect(row).to_have_count(1)
    return row


def decide_anomaly(desk: Desk, customer: str, verdict: str) -> None:
    page = desk.page
    blocker_of(page, customer).get_by_role("link", name="Open").click()
    page.get_by_role("link", name="Decide", exact=True).click()
    save_decision(page, verdict)


def decide_figure(desk: Desk, customer: str, verdict: str, quantity: str = "") -> None:
    page = desk.page
    blocker_of(page, customer).get_by_role("link", name="Open").click()
    page.get_by_role("link", name="Decide on this figure").click()
    save_decision(page, verdict, quantity)
    page.goto(f"/months/{in_url(MONTH)}/")
    expect(page.locator("#list tbody tr", has_text=customer)).to_have_count(0)


def save_decision(page: Page, verdict: str, quantity: str = "") -> None:
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("radio", name=verdict).check()
    if quantity:
        dialog.get_by_label("Emails in this billing period").fill(quantity)
    dialog.get_by_label("Reason").fill("Agreed with the customer until the provider answers.")
    dialog.locator("button.pk-primary").click()
    expect(dialog).to_be_hidden()


def type_invoice(desk: Desk) -> None:
    """The base fees and overages of SendGrid's invoice: one under a name that nobody knows, one 12.50 too high."""
    page = desk.page
    page.goto("/invoices/")
    page.get_by_role("link", name="Enter invoice").first.click()
    page.get_by_label("Connection").select_option(label="SendGrid")
    page.get_by_label("Invoice number").fill("SG-2041")
    page.get_by_label("Invoice date").fill(f"{NEXT}")
    page.get_by_label("Currency").fill("EUR")
    page.get_by_label("Total").fill("220")
    page.locator("form.pk-form .pk-primary").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("SG-2041")
    start, end = (MONTH - timedelta(days=1)).replace(day=16), MONTH.replace(day=15)
    for kind, who, amount in (
        ("Base fee", "ops0@company.example", "60"),
        ("Overage", "ops0@company.example", "30"),
        ("Base fee", "ops1@company.example", "60"),
        ("Overage", "ops1@company.example", "10"),
        ("Base fee", "optics-old-login", "60"),
    ):
        page.get_by_role("link", name="Add line").click()
        page.locator("[name=kind]").select_option(label=kind)
        page.locator("[name=account_text]").fill(who)
        page.get_by_label("Service from").fill(f"{start}")
        page.get_by_label("Service until").fill(f"{end}")
        page.get_by_label("Amount").fill(amount)
        page.get_by_role("button", name="Add line").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("SG-2041")
    desk.shot("53-invoice", everywhere=True)
    page.get_by_role("link", name=f"{MONTH:%B %Y}").click()
    strange = page.get_by_role("row", name=re.compile("optics-old-login"))
    expect(strange).to_contain_text("Billed by the provider and not by us")
    desk.shot("54-comparison", everywhere=True)
    strange.get_by_role("link", name="Assign account").click()
    page.get_by_role("searchbox", name="Search accounts").fill("ops2")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Assign ops2@company.example").click()
    page.goto(f"/months/{in_url(MONTH)}/")
    page.get_by_role("link", name="SendGrid", exact=True).first.click()
    expect(page.get_by_role("row", name=re.compile("ops2@company.example"))).to_contain_text("Equal")


def import_invoice(desk: Desk) -> None:
    """AhaSend's one invoice as a file. It states 7.50 more than its line, which matches nothing."""
    page = desk.page
    page.goto("/invoices/")
    page.get_by_role("link", name="Import CSV").click()
    page.get_by_label("Connection").select_option(label="AhaSend")
    head = "number,date,currency,kind,account,service start,service end,amount,description"
    line = f"AH-77,{NEXT},EUR,overage,,{MONTH},{NEXT - timedelta(days=1)},25.00,Emails"
    content = f"{head}\n{line}\n".encode()
    page.locator("[name=file]").set_input_files({"name": "ah-77.csv", "mimeType": "text/csv", "buffer": content})
    page.get_by_role("radio", name="A point").check()
    desk.shot("53-import", everywhere=True)
    page.get_by_label("Total").fill("32.50")
    page.get_by_role("button", name="Import invoice").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("AH-77")
    page.get_by_role("link", name=f"{MONTH:%B %Y}").click()
    strange = page.get_by_role("row", name=re.compile("Total without lines"))
    expect(strange).to_contain_text("Billed by the provider and not by us")
    desk.shot("54-shared-comparison", everywhere=True)


def accept_difference(desk: Desk, amount: str) -> None:
    page = desk.page
    page.goto(f"/months/{in_url(MONTH)}/")
    row = page.locator("#list tbody tr", has_text="Invoice differs from our figures")
    expect(row).to_contain_text(amount)
    row.get_by_role("link", name="Accept").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("The provider corrects it with its next invoice.")
    desk.shot("55-accept", everywhere=True)
    dialog.get_by_role("button", name="Accept").click()
    expect(dialog).to_be_hidden()
    expect(row).to_have_count(0)


def close_with_approval(desk: Desk, desks: Callable[[str], Desk], portal: Installation, *, held_back: int) -> Desk:
    page = desk.page
    page.get_by_role("link", name="Close month", exact=True).click()
    page.get_by_label("Note").fill("Checked with the provider.")
    desk.shot("56-close", everywhere=True)
    page.get_by_role("button", name="Close month").click()
    expect(page.locator("main")).to_contain_text("Waiting for approval by Ada Moreau")
    approver = desks("approver")
    approver.sign_in(APPROVER, PASSWORD)
    approver.page.get_by_role("region", name="Waiting for your approval").get_by_role("link").first.click()
    approver.shot("57-approve", everywhere=True)
    approver.page.get_by_role("button", name="Approve and apply").click()
    expect(approver.page.locator("main")).to_contain_text("Approved")
    page.goto(f"/months/{in_url(MONTH)}/")
    expect(page.locator("#closing")).to_contain_text("The month is being closed")
    desk.shot("58-closing")
    portal.start_worker()
    expect(page.locator("#closing")).to_contain_text("The month is closed")  # nobody reloads
    page.get_by_role("link", name="Show closed month").click()
    expect(page.locator(".bl-stage-closed")).to_be_visible()
    expect(page.locator("main")).to_contain_text("Checked with the provider.")
    if held_back:
        expect(page.get_by_role("link", name="Close the rest")).to_be_visible()
        expect(page.locator("#list tbody tr")).to_have_count(held_back)
    else:
        expect(page.locator("main")).to_contain_text("Nothing blocks this month")
    desk.shot("59-closed", everywhere=True)
    return approver


def read_closed(portal: Installation, number: int) -> list[list[Any]]:
    closed: list[list[Any]] = json.loads(portal.python(CLOSED))
    assert [row[0] for row in closed] == [f"{n:06}" for n in range(1, number + 1)]
    return closed


def print_statement(desk: Desk, closed: list[list[Any]]) -> None:
    page = desk.page
    page.goto(f"/statements/?month={in_url(MONTH)}&state=closed")
    number, _currency, minor, _digest, customer, _lines = closed[0]
    page.get_by_role("link", name=customer).click()
    expect(page.locator("main")).to_contain_text(number)
    expect(page.locator("main")).to_contain_text(f"€{minor / 100:.2f}")
    desk.shot("60-statement", everywhere=True)
    printed = page.pdf(prefer_css_page_size=True)
    sizes = re.findall(rb"/MediaBox\s*\[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert {(round(float(width)), round(float(height))) for width, height in sizes} == {A4}


def export_accounting(desk: Desk, closed: list[list[Any]]) -> None:
    page = desk.page
    page.goto(f"/months/{in_url(MONTH)}/")
    page.get_by_role("link", name="Accounting", exact=True).click()
    expect(page.get_by_role("heading", name="Accrued revenue")).to_be_visible()
    expect(page.get_by_text("Calculating.")).to_be_hidden()
    desk.shot("61-accounting", everywhere=True)
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    found = totals_of(rows_of(Path(download.value.path()).read_bytes()))
    assert found == {(row[0], row[1]): Decimal(row[2]).scaleb(-2) for row in closed}


def adjust(desk: Desk, portal: Installation, customer: str, amount: str, closed: list[list[Any]]) -> None:
    """A figure of the closed month arrives late: it is billed in the next one, and what was closed stays."""
    page = desk.page
    page.goto("/usage/runs/")
    with page.expect_navigation():
        page.get_by_role("button", name=re.compile("Sync")).first.click()
    expect(page.locator("main")).to_contain_text("Complete")
    page.goto(f"/months/{in_url(NEXT)}/")
    page.goto(f"/statements/?month={in_url(NEXT)}")
    page.get_by_role("link", name=customer).click()
    line = page.locator(".bl-lines tr", has_text="Adjustment: Overage")
    expect(line).to_contain_text(amount)
    line.locator("summary").click()
    desk.shot("62-adjustment", everywhere=True)
    [number] = [row[0] for row in closed if row[4] == customer]
    line.get_by_role("link", name=re.compile(number)).click()
    expect(page.locator("main")).to_contain_text("Adjusted by")
    expect(page.locator("main")).to_contain_text(number)
    desk.shot("63-adjusted", everywhere=True)
    assert read_closed(portal, len(closed)) == closed
    assert "The closed months are intact." in portal.manage("verify_closed_months")


def end_story(portal: Installation, *desks: Desk) -> None:
    found = [f"{desk.name}: {each}" for desk in desks for each in desk.complaints]
    assert not found, "\n".join(found)
    logged = portal.said("web") + portal.said("worker")
    assert not re.findall(r"^\S+Z (?:error|critical) .*", logged, re.MULTILINE)
