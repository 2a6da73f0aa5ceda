"""Add a connection from the command line: secrets from the environment or a prompt, never from an argument."""

from __future__ import annotations

import os
import uuid
from getpass import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from customers.connections import catalogue
from customers.connections import commands as connection_commands
from customers.models import Connection
from portal import commands
from portal.providers import CAPABILITIES, Capabilities, ProviderError
from portal.refusals import Refusal

# No page waits for this: the lists of two connections with one key may be long.
LIST_SECONDS = 600.0


class Command(BaseCommand):
    help = (
        "Add a connection and test it. Secrets are read from PORTAL_API_KEY and PORTAL_V2_PASSWORD. The API key "
        "is prompted for if it is not set."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=sorted(CAPABILITIES))
        parser.add_argument("--name", required=True)
        parser.add_argument("--region", default="global")
        parser.add_argument("--base-url", help="base URL to use instead of the region's default")
        parser.add_argument("--account-id", help="ID of the parent account (a UUID), if the provider requires one")
        parser.add_argument(
            "--keep-keys", action="store_true", help=("allow storing the API keys of accounts, encrypted")
        )
        parser.add_argument("--usage-source", choices=Connection.UsageSource.values)
        parser.add_argument("--v2-auth", default="key_in_form", choices=Connection.V2Auth.values)
        parser.add_argument("--v2-username", default="")
        parser.add_argument("--test-accounts-only", action="store_true")

    def handle(self, **options: Any) -> None:
        capabilities = CAPABILITIES[options["kind"]]
        base_url = options["base_url"] or capabilities.regions.get(options["region"])
        if not base_url:
            raise CommandError(f"--region must be one of: {', '.join(capabilities.regions)}.")
        facts = _facts(capabilities, options) | {"base_url": base_url}
        key = os.environ.get("PORTAL_API_KEY") or getpass("API key: ")
        try:
            connection = connection_commands.add_connection(
                commands.Command(None),
                facts=facts,
                api_key=key,
                v2_password=os.environ.get("PORTAL_V2_PASSWORD", ""),
                list_seconds=LIST_SECONDS,
            )
        except Refusal as refusal:
            raise CommandError(str(refusal)) from None
        self._check(connection)

    def _check(self, connection: Connection) -> None:
        now = timezone.now()
        try:
            connection_commands.verify_connection(commands.Command(None, now), connection=connection)
            if connection.capabilities.offerings:
                catalogue.refresh_catalogue(commands.Command(None, now), connection=connection)
        except (ProviderError, Refusal) as error:
            raise CommandError(str(error)) from None
        finally:
            for check in connection.checks:
                mark = {True: "ok", False: "failed", None: "not tested"}[check["ok"]]
                self.stdout.write(f"{check['name']:<28} {mark:<14} {check['detail']}")
        sold = (
            f". The catalog has {connection.catalogue.count()} offerings" if connection.capabilities.offerings else ""
        )
        self.stdout.write(f"{connection.name} was added{sold}.")


def _facts(capabilities: Capabilities, options: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of the connection; an option that the kind does not use is refused, not dropped."""
    facts = {name: options[name] for name in ("name", "kind", "region")}
    facts["usage_source"] = options["usage_source"] or capabilities.usage_sources[0].value
    if facts["usage_source"] not in capabilities.usage_sources:
        raise CommandError(f"--usage-source must be one of: {', '.join(capabilities.usage_sources)}.")
    for option, is_used, why in (
        ("account_id", capabilities.needs_account_id, "doesn't use --account-id"),
        ("keep_keys", capabilities.sending_setup, "doesn't support --keep-keys"),
        ("test_accounts_only", capabilities.test_accounts, "doesn't support --test-accounts-only"),
    ):
        if options[option] and not is_used:
            raise CommandError(f"{capabilities.label} {why}.")
    if capabilities.needs_account_id:
        facts["account_id"] = _account_id(options["account_id"])
    return facts | {name: options[name] for name in ("keep_keys", "v2_auth", "v2_username", "test_accounts_only")}


def _account_id(text: str | None) -> str:
    try:
        return str(uuid.UUID(text or ""))
    except ValueError:
        raise CommandError("--account-id must be the ID of your parent account at the provider, a UUID.") from None
