"""Add a connection from the command line: secrets from the environment or a prompt, never from an argument."""

from __future__ import annotations

import os
from getpass import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from customers import catalogue, connecting
from customers.models import Connection
from portal.providers import CAPABILITIES

FACTS = (
    "name", "kind", "region", "account_id", "keep_keys", "usage_source", "v2_auth", "v2_username", "test_accounts_only",
)  # fmt: skip


class Command(BaseCommand):
    help = "Add a connection and check it. Secrets come from PORTAL_API_KEY and PORTAL_V2_PASSWORD, or a prompt."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=sorted(CAPABILITIES))
        parser.add_argument("--name", required=True)
        parser.add_argument("--region", default="global")
        parser.add_argument("--base-url", help="instead of the region's own address")
        parser.add_argument("--account-id", default="", help="our own account at the provider, where it asks for one")
        parser.add_argument("--keep-keys", action="store_true", help="people may keep new keys for setting up sending")
        parser.add_argument("--usage-source", default="", choices=["", *Connection.UsageSource.values])
        parser.add_argument("--v2-auth", default="key_in_form", choices=Connection.V2Auth.values)
        parser.add_argument("--v2-username", default="")
        parser.add_argument("--test-accounts-only", action="store_true")

    def handle(self, **options: Any) -> None:
        regions = CAPABILITIES[options["kind"]].regions
        base_url = options["base_url"] or regions.get(options["region"])
        if not base_url:
            raise CommandError(f"--region is one of: {', '.join(regions)}.")
        facts = {name: options[name] for name in FACTS}
        key = os.environ.get("PORTAL_API_KEY") or getpass("API key: ")
        try:
            connection = connecting.add_connection(
                actor=None,
                facts=facts | {"base_url": base_url},
                api_key=key,
                v2_password=os.environ.get("PORTAL_V2_PASSWORD", ""),
            )
        except connecting.UnableToConnect as refusal:
            raise CommandError(str(refusal)) from None
        now = timezone.now()
        connecting.verify(actor=None, connection=connection, now=now)
        for check in connection.checks:
            mark = {True: "works", False: "does not work", None: "not tried"}[check["ok"]]
            self.stdout.write(f"{check['name']:<16} {mark:<14} {check['detail']}")
        if not connection.capabilities.offerings:
            self.stdout.write(f"{connection.name} is connected.")
            return
        try:
            catalogue.refresh_catalogue(connection=connection, now=now)
        except catalogue.UnableToRefresh as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(f"{connection.name} is connected; {connection.catalogue.count()} offerings may be sold.")
