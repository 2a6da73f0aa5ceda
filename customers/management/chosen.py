"""Connections selected on a command line."""

from __future__ import annotations

from django.core.management.base import CommandError

from customers.models import Connection


def connections(wanted: str | None) -> list[Connection]:
    """Return the connections of this name or public ID; without one, all that are not paused. Raises `CommandError`."""
    found = list(Connection.objects.all())
    if wanted is None:
        return [each for each in found if each.is_readable]
    chosen = [each for each in found if wanted in (each.name, str(each.public_id))]
    if not chosen:
        names = ", ".join(each.name for each in found) or "none"
        raise CommandError(f'No connection matches "{wanted}". Available: {names}.')
    return chosen
