"""Add a connection from the command line: secrets from the environment or a prompt, never from an argument."""

from __future__ import annotations

import os
import uuid
from getpass import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from customers.connections import catalogue
from customers.connections import checks as connection_checks
from customers.connections import commands as connection_commands
from customers.models import Connection
from portal.providers import CAPABILITIES, Capabilities, ProviderError

# No page waits for this: the lists of two connections with one key may be long.
LIST_SECONDS = 600.0


class Command(BaseCommand):
    help = "Add a connection and check it. Secrets come from PORTAL_API_KEY and PORTAL_V2_PASSWORD, or a prompt."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=sorted(CAPABILITIES))
        parser.add_argument("--name", required=True)
        parser.add_argument("--region", default="global")
        parser.add_argument("--base-url", help="instead of the region's own address")
        parser.add_argument("--account-id", help="our own account there (a UUID), where the kind needs one")
        parser.add_argument("--keep-keys", action="store_true", help="API keys of accounts may be kept, encrypted")
        parser.add_argument("--usage-source", choices=Connection.UsageSource.values)
        parser.add_argument("--v2-auth", default="key_in_form", choices=Connection.V2Auth.values)
        parser.add_argument("--v2-username", default="")
        parser.add_argument("--test-accounts-only", action="store_true")

    def handle(self, **options: Any) -> None:
        capabilities = CAPABILITIES[options["kind"]]
        base_url = options["base_url"] or capabilities.regions.get(options["region"])
        if not base_url:
            raise CommandError(f"--region is one of: {', '.join(capabilities.regions)}.")
        facts = _facts(capabilities, options) | {"base_url": base_url}
        key = os.environ.get("PORTAL_API_KEY") or getpass("API key: ")
        try:
            connection = connection_commands.add_connection(
                actor=None, facts=facts, api_key=key, v2_password=os.environ.get("PORTAL_V2_PASSWORD", ""),
                list_seconds=LIST_SECONDS,
            )  # fmt: skip
        except connection_checks.UnableToConnect as refusal:
            raise CommandError(str(refusal)) from None
        self._check(connection)

    def _check(self, connection: Connection) -> None:
        now = timezone.now()
        try:
            connection_commands.verify_connection(actor=None, connection=connection, now=now)
            if connection.capabilities.offerings:
                catalogue.refresh_catalogue(connection=connection, now=now)
        except (ProviderError, catalogue.UnableToRefresh) as error:
            raise CommandError(str(error)) from None
        finally:
            for check in connection.checks:
                mark = {True: "works", False: "does not work", None: "not tried"}[check["ok"]]
                self.stdout.write(f"{check['name']:<28} {mark:<14} {check['detail']}")
        sold = f"; {connection.catalogue.count()} offerings may be sold" if connection.capabilities.offerings else ""
        self.stdout.write(f"{connection.name} is connected{sold}.")


def _facts(capabilities: Capabilities, options: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the connection; an option that the kind does not use is refused, not dropped."""
    facts = {name: options[name] for name in ("name", "kind", "region")}
    facts["usage_source"] = options["usage_source"] or capabilities.usage_sources[0].value
    if facts["usage_source"] not in capabilities.usage_sources:
        raise CommandError(f"--usage-source is one of: {', '.join(capabilities.usage_sources)}.")
    if capabilities.needs_account_id:
        facts["account_id"] = _account_id(options["account_id"])
    elif options["account_id"]:
        raise CommandError(f"{capabilities.label} needs no --account-id.")
    if options["keep_keys"] and not capabilities.sending_setup:
        raise CommandError(f"{capabilities.label} has no keys to keep.")
    if options["test_accounts_only"] and not capabilities.test_accounts:
        raise CommandError(f"{capabilities.label} has no test accounts.")
    return facts | {name: options[name] for name in ("keep_keys", "v2_auth", "v2_username", "test_accounts_only")}


def _account_id(text: str | None) -> str:
    try:
        return str(uuid.UUID(text or ""))
    except ValueError:
        raise CommandError("--account-id is the id of our own account at the provider, a UUID.") from None
