"""What nobody types: control characters, numbers no database holds, and files that are no list. Refused or ignored, and
never an error page; on both databases."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from customers.accounts.offerings.forms import OfferingListField
from customers.accounts.settings.forms import SeenSettingsField
from customers.bulk import commands as bulk_commands
from customers.connections.credentials import check_base_url
from customers.models import AccountImport, ChangeSet, RemoteAccount, Scan
from customers.observed import account_list
from customers.reconcile import account_import as account_imports
from portal import providers
from portal.access.models import User
from portal.commands import Command
from portal.providers import ConnectionConfig, Unsupported
from portal.refusals import Refusal
from tests.customers.conftest import Desk
from tests.customers.page_helpers import text_of
from tests.support.people import sign_in

ODD = ["\x00", "a\x00b", "\ud7ff\u202e", "%_'\\\"", "9" * 400]


@pytest.fixture
def admin(client: Client, db: None) -> Client:
    return sign_in(client, User.objects.create_user("ada@postkeeper.example", name="Ada", role="admin"))


@pytest.fixture
def remote_account(desk: Desk) -> RemoteAccount:
    desk.sandbox.admin.add_account(email="stranger@globex.example")
    scan, _ = account_list.begin_scan(connection=desk.connection, kind=Scan.Kind.ASKED, slot="now", now=timezone.now())
    account_list.read_account_list(scan, desk.connect(desk.connection))
    return RemoteAccount.objects.orphans().get()


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.sample(1)
@pytest.mark.long
def test_searching(admin: Client, remote_account: RemoteAccount, odd: str) -> None:
    for name in ("list", "drift", "drift-export", "orphans", "operations", "coming"):
        for asked in ({"q": odd}, {"page": odd}, {"view": odd}, {"connection": odd}, {"kind": odd}, {"person": odd}):
            assert admin.get(reverse(f"customers:{name}"), asked).status_code in (200, 400), (name, asked)
    adopt = reverse("customers:orphan-adopt", args=[remote_account.public_id])
    assert admin.get(adopt, {"q": odd}).status_code == 200


@pytest.mark.parametrize("odd", ["\x00", "\u00b2", "9" * 40, "-1"])
def test_ticks_on_the_first_day(admin: Client, desk: Desk, remote_account: RemoteAccount, odd: str) -> None:
    account_import = account_imports.propose_import(
        Command(desk.person, timezone.now()), connection=desk.connection, listed=[]
    )
    args = [desk.connection.public_id]
    assert admin.get(reverse("customers:estate", args=args), {"basis": odd, "page": odd}).status_code == 400
    for name in ("choose", "start"):
        posted = admin.post(
            reverse(f"customers:estate-{name}", args=args), {"shown": [odd], "ticked": [odd], "all": odd}
        )
        assert posted.status_code == 303
    assert account_import.items.get().take


@pytest.mark.parametrize(
    "content",
    [
        b'provider_id,company\nsg1,"' + b"x" * 200_000 + b'"\n', b'provider_id\n"sg1\n',
        b"provider_id,provider_id\nsg1,sg2,sg3\n", b"provider_id\nsg\x001\n", b"\xff\xfe",
    ],
    ids=["long", "open quote", "more than named", "nul", "utf-16"],
)  # fmt: skip
def test_lists_that_are_none(admin: Client, desk: Desk, remote_account: RemoteAccount, content: bytes) -> None:
    answer = admin.post(
        reverse("customers:estate-propose", args=[desk.connection.public_id]),
        {"listed": SimpleUploadedFile("ours.csv", content)},
    )
    assert answer.status_code in (303, 422), text_of(answer)
    assert AccountImport.objects.exists() == (answer.status_code == 303)


@pytest.mark.parametrize("odd", ["\x00", "x" * 5_000, ""])
def test_a_change_to_many(admin: Client, desk: Desk, odd: str) -> None:
    account = desk.created()
    found = bulk_commands.plan_bulk_change(
        Command(desk.person, timezone.now(), reason="Not paid", token="a" * 8),
        kind="suspend",
        wanted={},
        account_ids=[account.pk],
    )
    ChangeSet.objects.filter(pk=found.pk).update(state="waiting", second_person=True)
    decide, act = (reverse(f"customers:bulk-{name}", args=[found.public_id]) for name in ("decide", "act"))
    assert admin.post(decide, {"do": "approve", "plan": odd}).status_code == 422
    assert admin.post(decide, {"do": "refuse", "reason": odd}).status_code in (303, 422)
    assert admin.post(act, {"do": "again", "client_token": odd}).status_code in (303, 422)
    assert admin.post(reverse("customers:bulk-new"), {"by": "ticks", "ticked": [odd]}).status_code == 303


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://]", "http://127.0.0.1:99999", "https://api.sendgrid.com:x", "https://api.sendgrid.com:-1"]
)  # fmt: skip
def test_a_base_url_that_cannot_be_read(url: str) -> None:
    with pytest.raises(Refusal):
        check_base_url(url)
    with pytest.raises(Unsupported):
        providers.client(ConnectionConfig(kind="sendgrid", base_url=url, api_key="SG.test"))


@pytest.mark.parametrize("number", ["1e309", "NaN", "Infinity", "9" * 5_000, "-1", "[" * 100_000, "null", '"\\u0000"'])
def test_what_a_person_saw_forged(number: str) -> None:
    """The hidden fields of the editors: JSON that our own page wrote, or whoever sends something else."""
    offerings, settings = OfferingListField(), SeenSettingsField()
    assert offerings.clean('[{"name": "a", "type": "package", "quantity": 1}]')
    assert settings.clean('{"name": "a", "website": "b", "monthly_cap": 1}')
    for field, text in (
        (offerings, f'[{{"name": "a", "type": "package", "quantity": {number}}}]'),
        (settings, f'{{"name": "a", "website": "b", "monthly_cap": {number}}}'),
        (offerings, '[{"name": "a\\u0000", "type": "package", "quantity": 1}]'),
        (settings, '{"name": "\\ud800", "website": "b", "monthly_cap": 1}'),
    ):
        with pytest.raises(ValidationError):
            field.clean(text)
