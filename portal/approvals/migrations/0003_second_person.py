"""Switch the rules on that SECOND_PERSON stood for, where it was not switched off and two people can use them."""

from __future__ import annotations

import os
from typing import Any

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.db import migrations
from django.utils import timezone

# The roles that could request and approve both, at the time of this migration.
ROLES = ("admin", "customer_success")
OFF = {"0", "false", "off", "no", "n", "f", ""}


def switch_on(apps: Any, schema_editor: Any) -> None:
    if os.environ.get("SECOND_PERSON", "on").strip().lower() in OFF:
        return
    people = apps.get_model("access", "User").objects.filter(is_active=True, role__in=ROLES)
    if people.exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX).count() < 2:
        return
    now = timezone.now()
    for kind in ("delete", "bulk"):
        apps.get_model("approvals", "ApprovalRule").objects.get_or_create(
            kind=kind, defaults={"is_on": True, "on_since": now, "changed_at": now}
        )


class Migration(migrations.Migration):
    dependencies = [("approvals", "0002_guards"), ("access", "0002_labels")]
    operations = [migrations.RunPython(switch_on, migrations.RunPython.noop)]
