"""Reminders of API keys beyond the age of the settings: one email to each owner about the keys that became too old.

A key is told of once. Keys of customers without an owner, or whose owner left, are told to the admins.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from customers.accounts.keys.hygiene import old_keys
from customers.models import AccountKey
from customers.models.keys import LIVING
from portal.access.models import User
from portal.notices import raising
from portal.notices.models import Notice

# It is about what happened, so it is over once it was mailed.
KIND = f"{Notice.EVENT}keys.old"
AT_ONCE = 5000


def remind_old_keys(*, now: datetime) -> int:
    """Raise a notice for each owner with keys that no reminder told of; return how many notices."""
    if not settings.KEY_MAX_AGE_DAYS:
        return 0
    untold = AccountKey.objects.filter(LIVING, old_keys(now), reminded_at=None)
    owners = untold.order_by().values_list("account__customer__owner", flat=True).distinct()
    people = User.objects.filter(is_active=True).in_bulk([pk for pk in owners if pk])
    told = 0
    for pk in sorted(people):
        told += _remind(untold.filter(account__customer__owner=pk), people[pk], now)
    others = untold.exclude(account__customer__owner__in=list(people))
    return told + _remind(others, None, now)


def _remind(untold: QuerySet[AccountKey], owner: User | None, now: datetime) -> bool:
    """Raise the notice in the transaction that marks its keys, so that each is told of once."""
    with transaction.atomic():
        keys = list(untold.order_by().values_list("pk", flat=True))
        parts = [keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE)]
        count = sum(AccountKey.objects.filter(pk__in=part, reminded_at=None).update(reminded_at=now) for part in parts)
        if not count:
            return False
        days = settings.KEY_MAX_AGE_DAYS
        text = ngettext(
            "%(n)d API key is older than %(days)d days. Rotate it, or delete it if nothing uses it.",
            "%(n)d API keys are older than %(days)d days. Rotate them, or delete those that nothing uses.",
            count,
        )
        query = {"finding": "old"} | ({"owner": str(owner.public_id)} if owner else {})
        raising.raised(
            KIND,
            about=f"{owner.public_id if owner else 'admins'} {now.isoformat()}",
            title=_("API keys to rotate"),
            text=text % {"n": count, "days": days},
            path=f"{reverse('customers:keys')}?{urlencode(query)}",
            now=now,
            to=owner,
        )
    return True
