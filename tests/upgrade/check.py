"""Upgrade the database of the environment, check all that must hold of it, and open its pages as an admin.

Started by `test_upgrade` in a process of its own, because the tables of the test run are another database.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter, deque
from datetime import timedelta
from html import unescape

import django
import pytest
import time_machine
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import Resolver404, resolve
from django.utils import timezone

from tests.upgrade.stored import TODAY

PAGES_OF_ONE_ROUTE = 2
LINK = re.compile(r'href="(/[^"#]*)')


def main() -> None:
    told = stored_texts()
    call_command("migrate", verbosity=0)
    assert shown_texts() == told != {}
    call_command("createcachetable", verbosity=0)
    assert rules_on() == {"delete", "bulk"}, "the rules that 0.1.0 had by SECOND_PERSON, and no other"
    call_command("check_invariants")
    add_access()
    call_command("check_invariants")
    call_command("verify_audit")
    sys.stdout.write(f"opened {open_pages()} pages\n")


def stored_texts() -> dict[int, str]:
    """The sentences that the release stored, as they are in the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, summary FROM customers_operation WHERE summary <> ''")
        return dict(cursor.fetchall())


def shown_texts() -> dict[int, str]:
    from customers.models import Operation  # noqa: PLC0415 - models, so only once Django is set up

    return dict(Operation.objects.exclude(summary="").values_list("pk", "summary"))


def rules_on() -> set[str]:
    from portal.approvals.models import ApprovalRule  # noqa: PLC0415 - models, so only once Django is set up

    return set(ApprovalRule.objects.filter(is_on=True).values_list("kind", flat=True))


def add_access() -> None:
    """Use what the release has no tables for, so that its pages have rows too."""
    from tests.upgrade import extras_access, extras_prices  # noqa: PLC0415 - models, so only once Django is set up

    extras_access.add(now=timezone.now())
    extras_prices.add(now=timezone.now())


def open_pages() -> int:
    """Follow links from the home page, a few of each route."""
    from portal.access.models import User  # noqa: PLC0415 - models, so only once Django is set up
    from tests.support.people import sign_in  # noqa: PLC0415
    from tests.support.sessions import keep_ids_in_cookies  # noqa: PLC0415

    keep_ids_in_cookies(pytest.MonkeyPatch())
    admin = User.objects.filter(role="admin", is_active=True).order_by("pk")[0]
    client = sign_in(Client(SERVER_NAME="localhost"), admin)
    opened: Counter[str] = Counter()
    waiting, seen = deque(["/"]), {"/"}
    while waiting:
        path = waiting.popleft()
        try:
            route = resolve(path.partition("?")[0]).view_name
        except Resolver404:
            if path.startswith(settings.STATIC_URL):
                continue
            raise
        if opened[route] == PAGES_OF_ONE_ROUTE:
            continue
        opened[route] += 1
        answer = client.get(path)
        assert answer.status_code in (200, 302), f"{path}: {answer.status_code}"
        if "text/html" in answer.headers["Content-Type"] and not answer.streaming:
            found = [unescape(each) for each in LINK.findall(answer.content.decode())]
            fresh = [each for each in dict.fromkeys(found) if each not in seen and not each.startswith("//")]
            seen.update(fresh)
            waiting.extend(fresh)
    needed = {"home", "customers:list", "customers:detail", "customers:account", "customers:operation"}
    needed |= {"approvals:list", "approvals:detail", "approvals:rules", "access:role-edit", "security"}
    missing = needed - opened.keys()
    assert not missing, f"never met: {missing}; opened: {sorted(opened)}"
    return opened.total()


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"
    with time_machine.travel(TODAY + timedelta(hours=1), tick=True):
        django.setup()
        main()
