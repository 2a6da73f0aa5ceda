"""Pictures of the demo for README and guide: `make screenshots`, or beside a running demo with its address:

    DEMO_URL=http://127.0.0.1:8000 DEMO_PASSWORD=... python -m tests.journeys.screenshots [FOLDER] [--all]

`--all` takes every page, light, dark and narrow, into test-results/ for people to look at.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Literal
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright

from tests.journeys.processes import PASSWORD, ROOT, installation

LOGIN = "{}@postkeeper.example"
# name, role, address or the customer whose account page (or tab of it) is meant
DOCS = (
    ("customers", "success", "/customers/"),
    ("account", "success", "account:Stellar Pets"),
    ("offerings", "success", "account:Juniper Home Goods/offerings/"),
    ("suspend", "success", "account:Kestrel Analytics/suspend/"),
    ("operation", "success", "operation:Larkspur Events"),
    ("usage", "finance", "/usage/?month=last"),
    ("audit", "auditor", "/audit/"),
)
MORE = (
    ("home", "success", "/"),
    ("home-admin", "admin", "/"),
    ("customer", "success", "customer:Northwind Kitchens"),
    ("customer-new", "success", "/customers/new/"),
    ("customer-edit", "success", "customer:Northwind Kitchens/edit/"),
    ("account-new", "success", "customer:Northwind Kitchens/accounts/new/"),
    ("account-held", "success", "account:Wanderbus"),
    ("account-suspended", "success", "account:Rue Verte"),
    ("account-gap", "success", "account:Clearwater Clinics"),
    ("account-refused", "success", "account:Tin Kettle Coffee"),
    ("account-capped", "success", "account:Saffron Street Eats"),
    ("account-settings", "success", "account:Saffron Street Eats/settings/"),
    ("account-capped-suspend", "success", "account:Tidewater Ferries/suspend/"),
    ("customers-capped", "success", "/customers/?provider=ahasend"),
    ("account-usage", "finance", "usage:Cartwheel Toys"),
    ("account-usage-gap", "finance", "usage:Stellar Pets"),
    ("delete", "success", "account:Kestrel Analytics/delete/"),
    ("sign-in-as", "success", "account:Kestrel Analytics/sign-in-as/"),
    ("username", "success", "account:Librairie du Canal/username/"),
    ("operations", "success", "/operations/"),
    ("operation-conflict", "success", "operation:Anvil & Oak"),
    ("operation-attention", "success", "operation:Atlas Field Service"),
    ("changes", "success", "/changes/"),
    ("api-keys", "success", "/keys/"),
    ("api-keys-change", "success", "/keys/change/"),
    ("calendar", "success", "/coming/"),
    ("schedule", "success", "account:Kestrel Analytics/schedules/new/"),
    ("hold", "success", "account:Kestrel Analytics/hold/"),
    ("drift", "success", "/drift/"),
    ("orphans", "success", "/drift/orphans/"),
    ("engine", "admin", "/engine/"),
    ("usage-now", "finance", "/usage/"),
    ("usage-customers", "finance", "/usage/?group=customer"),
    ("usage-calendar", "finance", "/usage/calendar/"),
    ("usage-decide", "finance", "/usage/decide/"),
    ("usage-exports", "finance", "/usage/exports/"),
    ("usage-changes", "finance", "/usage/changes/"),
    ("runs", "finance", "/usage/runs/"),
    ("connections", "admin", "/connections/"),
    ("connection-new", "admin", "/connections/new/"),
    ("connection-new-kind", "admin", "/connections/new/?kind=ahasend"),
    ("connection", "admin", "connection"),
    ("staff", "admin", "/staff/"),
    ("staff-invite", "admin", "/staff/invite/"),
    ("profile", "admin", "/me/"),
    ("help", "success", "/help/"),
    ("help-search", "success", "/help/?q=unknown+outcome"),
    ("help-guide", "success", "/help/states/"),
    ("components", "admin", "/help/components/"),
    ("refused", "finance", "/customers/new/"),
    ("missing", "admin", "/nothing/here/"),
)


@dataclass(frozen=True)
class Look:
    suffix: str = ""
    scheme: Literal["light", "dark"] = "light"
    size: tuple[int, int] = (1440, 900)


LOOKS = (Look(), Look("-dark", "dark"), Look("-narrow", size=(390, 844)))


def take(url: str, password: str, folder: Path, *, everything: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=which("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        for look in LOOKS if everything else LOOKS[:1]:
            _take_all(browser, (url, password), folder, look, everything=everything)
        browser.close()


def _take_all(browser: Browser, seat: tuple[str, str], folder: Path, look: Look, *, everything: bool) -> None:
    url, password = seat
    pages = DOCS + (MORE if everything else ())
    for role in sorted({role for _, role, _ in pages}):
        with signed_in(browser, url, LOGIN.format(role), password, look) as page:
            for name, whose, where in pages:
                if whose == role:
                    page.goto(address(page, url, where))
                    page.wait_for_load_state("networkidle")
                    page.screenshot(path=folder / f"{name}{look.suffix}.png", full_page=everything)


@contextmanager
def signed_in(browser: Browser, url: str, email: str, password: str, look: Look) -> Iterator[Page]:
    context = browser.new_context(
        color_scheme=look.scheme, viewport={"width": look.size[0], "height": look.size[1]}, reduced_motion="reduce",
        timezone_id="UTC", locale="en-GB",
    )  # fmt: skip
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{url}/sign-in/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{url}/")
    yield page
    context.close()


def address(page: Page, url: str, where: str) -> str:
    """`account:Name/tail`, `customer:Name/tail`, `usage:Name`, `operation:Name`, `connection`, or a path."""
    kind, _, rest = where.partition(":")
    if where == "connection":
        page.goto(f"{url}/connections/")
        return url + str(page.get_by_role("link", name="SendGrid EU").first.get_attribute("href"))
    if where.endswith("?month=last"):
        page.goto(f"{url}/usage/")
        links = page.locator("a[href*='month=']").evaluate_all("all => all.map(each => each.getAttribute('href'))")
        return f"{url}/usage/{next((link for link in links if link.startswith('?month=')), '')}"
    if not rest:
        return url + where
    name, _, tail = rest.partition("/")
    page.goto(f"{url}/customers/?q={quote(name)}")
    customer = url + str(page.get_by_role("link", name=name).first.get_attribute("href"))
    if kind == "customer":
        return customer + tail
    page.goto(customer)
    account = customer if "/accounts/" in customer else _first(page, url, "/accounts/")
    if kind == "account":
        return account + tail
    if kind == "usage":
        return account.replace("/accounts/", "/usage/accounts/")
    page.goto(account + "operations/")
    return _first(page, url, "/operations/")


def _first(page: Page, url: str, path: str) -> str:
    return url + str(page.locator(f"main a[href^='{path}']").first.get_attribute("href"))


def main(arguments: list[str]) -> int:
    everything = "--all" in arguments
    plain = [each for each in arguments if not each.startswith("--")]
    default = ROOT / ("test-results/pages" if everything else "docs/screenshots")
    folder = Path(plain[0]) if plain else default
    if "DEMO_URL" in os.environ:
        take(os.environ["DEMO_URL"], os.environ["DEMO_PASSWORD"], folder, everything=everything)
        return 0
    with tempfile.TemporaryDirectory(prefix="postkeeper-") as data, installation(Path(data), PORTAL_DEMO="1") as demo:
        demo.manage("prepare_demo")
        take(demo.start_web(), PASSWORD, folder, everything=everything)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
