"""Single sign-on in a real browser: the content policy lets it leave for the provider, and it comes back signed in."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from portal.access.models import User
from tests.access.sso.conftest import SUBJECT
from tests.support.identity_provider import IdentityProvider

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.django_db(transaction=True)]


def test_from_the_sign_in_page_to_the_home_page(page: Page, live_server: Any, ada: User) -> None:
    complaints: list[str] = []
    page.on("console", lambda each: complaints.append(each.text) if "Policy" in each.text else None)
    page.goto(live_server.url + "/me/")
    page.get_by_role("button", name="Sign in with Example ID").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Authorize Client")
    page.get_by_placeholder("sub").fill(SUBJECT)
    complaints.clear()  # those of the provider's own page
    page.get_by_role("button", name="Authorize").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Profile")
    expect(page.get_by_text("You're connected to Example ID.")).to_be_visible()
    expect(page.get_by_role("main").get_by_text(ada.email)).to_be_visible()
    assert complaints == []


def _sign_in(page: Page, live_server: Any) -> None:
    page.goto(live_server.url + "/sign-in/")
    page.get_by_role("button", name="Sign in with Example ID").click()
    page.get_by_placeholder("sub").fill(SUBJECT)
    page.get_by_role("button", name="Authorize").click()


def test_who_loses_the_group_loses_the_access(
    page: Page, live_server: Any, ada: User, idp: IdentityProvider, new_context: Any
) -> None:
    """Everywhere at the next sign-in; and another group is another role."""
    elsewhere = new_context().new_page()
    for each in (elsewhere, page):
        _sign_in(each, live_server)
        expect(each.get_by_role("heading", level=1)).to_have_text("Home")
    page.context.clear_cookies()
    idp.person(SUBJECT, name="Ada Admin", email="ada@elsewhere.example", groups=["staff"])
    _sign_in(page, live_server)
    expect(page.get_by_role("heading", level=1)).to_have_text("None of your groups has access")
    expect(page.get_by_text("Ask whoever manages your groups")).to_be_visible()
    elsewhere.goto(live_server.url + "/customers/")
    expect(elsewhere.get_by_role("heading", level=1)).to_have_text("Sign in")
    idp.person(SUBJECT, name="Ada Admin", email="ada@elsewhere.example", groups=["pk-finance"])
    _sign_in(page, live_server)
    expect(page.get_by_role("heading", level=1)).to_have_text("Home")
    expect(page.get_by_role("link", name="Team members")).to_be_hidden()
    assert User.objects.get(pk=ada.pk).role == "finance"
