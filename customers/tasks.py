"""Thin tasks: ids in, one plain function called. A message may come late, twice or never."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.utils import timezone

from customers import breaker, dispatcher, estate, observations, provisioning, reconcile
from customers.clients import client_for, recorded
from customers.models import Account
from portal.providers import ProviderError


@shared_task(name="customers.dispatch")
def dispatch(**_: Any) -> None:
    dispatcher.dispatch(now=timezone.now())


@shared_task(name="customers.perform")
def perform(operation_id: int, **_: Any) -> None:
    provisioning.perform(operation_id)


@shared_task(name="customers.read_account")
def read_account(account_id: int, **_: Any) -> None:
    account = observations.accounts_to_read(now=timezone.now()).filter(pk=account_id).first()
    if account is None:
        return
    account = Account.objects.select_related("connection").get(pk=account_id)
    with recorded() as exchanges:
        try:
            provider = client_for(account.connection, interactive=True, background=True)
            observations.read_account(account=account, now=timezone.now(), provider=provider)
        except ProviderError:
            pass  # the time of trying is kept; it is asked again later
    breaker.learn(connection_id=account.connection_id, exchanges=exchanges, now=timezone.now())


@shared_task(name="customers.try_connection")
def try_connection(connection_id: int, **_: Any) -> None:
    breaker.try_again(connection_id)


@shared_task(name="customers.walk")
def walk(scan_id: int, **_: Any) -> None:
    reconcile.walk_now(scan_id)


@shared_task(name="customers.nightly_walks")
def nightly_walks(**_: Any) -> None:
    reconcile.nightly(now=timezone.now())


@shared_task(name="customers.takeover_chunk")
def takeover_chunk(takeover_id: int, **_: Any) -> None:
    estate.take_chunk(takeover_id)
