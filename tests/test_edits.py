"""Two people edit the same row from forms that were opened at the same time."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from customers.models import Connection, Customer
from portal.access.models import User
from portal.audit.models import AuditEvent
from tests.support.edits import fields_of
from tests.support.factories import ConnectionFactory, CustomerFactory, UserFactory
from tests.support.people import sign_in

pytestmark = pytest.mark.django_db


class Editor:
    """A person with the page open in a browser."""

    def __init__(self, url: str, role: str = "admin", name: str = "Ada") -> None:
        self.person: User = UserFactory(role=role, name=name)
        self.client, self.url = sign_in(Client(), self.person), url
        self.fields = fields_of(self.client.get(url).content.decode())
        self.page = ""

    def save(self, **typed: str | None) -> int:
        sent = self.fields | typed
        answer = self.client.post(self.url, {name: value for name, value in sent.items() if value is not None})
        self.page = answer.content.decode()
        if answer.status_code == 409:
            self.fields = fields_of(self.page)
        return answer.status_code


def two(url: str, role: str = "admin") -> tuple[Editor, Editor]:
    return Editor(url, role, "Ada"), Editor(url, role, "Bo")


class TestAConnection:
    @pytest.fixture
    def url(self) -> str:
        row = ConnectionFactory(name="SendGrid EU")
        return reverse("customers:connection-edit", args=[row.public_id])

    def test_brakes_outlive_a_name_that_is_saved_from_an_older_page(self, url: str) -> None:
        ada, bo = two(url)
        assert ada.save(creates_per_hour="5", test_accounts_only="on") == 303
        assert bo.save(name="SendGrid Europe") == 303
        row = Connection.objects.get()
        assert (row.name, row.creates_per_hour, row.test_accounts_only) == ("SendGrid Europe", 5, True)
        assert AuditEvent.objects.filter(verb="connection.edited").latest("id").after == {"name": "SendGrid Europe"}

    def test_a_conflict_shows_both_values_and_keeps_the_input(self, url: str) -> None:
        ada, bo = two(url)
        assert ada.save(creates_per_hour="5", test_accounts_only="on") == 303
        assert bo.save(creates_per_hour="20", name="SendGrid Europe") == 409
        assert Connection.objects.get().creates_per_hour == 5
        assert "Ada saved other values at" in bo.page
        assert (bo.fields["name"], bo.fields["creates_per_hour"]) == ("SendGrid Europe", "20")
        assert bo.fields["test_accounts_only"] == "on", "what the other changed is in the form"
        assert bo.save() == 422
        assert "Choose which value to save." in bo.page
        assert bo.save(**{"choice-creates_per_hour": "theirs"}) == 303
        row = Connection.objects.get()
        assert (row.name, row.creates_per_hour, row.test_accounts_only) == ("SendGrid Europe", 5, True)

    def test_ones_own_value_can_be_chosen(self, url: str) -> None:
        ada, bo = two(url)
        ada.save(creates_per_hour="5")
        assert bo.save(creates_per_hour="20") == 409
        assert bo.save(**{"choice-creates_per_hour": "mine"}) == 303
        assert Connection.objects.get().creates_per_hour == 20
        told = AuditEvent.objects.filter(verb="connection.edited").latest("id")
        assert (told.before, told.after) == ({"creates_per_hour": 5}, {"creates_per_hour": 20})

    def test_a_value_typed_beside_the_other_choice_is_asked_about(self, url: str) -> None:
        ada, bo = two(url)
        ada.save(creates_per_hour="5")
        assert bo.save(creates_per_hour="20") == 409
        assert bo.save(**{"choice-creates_per_hour": "theirs", "creates_per_hour": "30"}) == 422
        assert "Choose which value to save." in bo.page
        assert fields_of(bo.page)["creates_per_hour"] == "30"
        assert Connection.objects.get().creates_per_hour == 5

    def test_a_third_value_meanwhile_is_asked_about_again(self, url: str) -> None:
        ada, bo = two(url)
        ada.save(creates_per_hour="5")
        assert bo.save(creates_per_hour="20") == 409
        Editor(url).save(creates_per_hour="7")
        assert bo.save(**{"choice-creates_per_hour": "mine"}) == 409
        assert Connection.objects.get().creates_per_hour == 7

    def test_the_same_value_twice_is_no_conflict(self, url: str) -> None:
        ada, bo = two(url)
        assert (ada.save(creates_per_hour="5"), bo.save(creates_per_hour="5")) == (303, 303)

    @pytest.mark.parametrize("seen", [None, "[]", "{", '{"public_id": 1, "paused": "auth"}', "\x00"])
    def test_a_page_without_what_it_was_opened_with_undoes_nothing(self, url: str, seen: str | None) -> None:
        ada, bo = two(url)
        ada.save(creates_per_hour="5")
        assert bo.save(seen=seen) == 409
        assert Connection.objects.get().creates_per_hour == 5

    def test_two_new_keys(self, url: str) -> None:
        row = Connection.objects.get()
        ada, bo = two(reverse("customers:connection-key", args=[row.public_id]))
        ada.save(api_key="SG.the-key-of-ada")
        assert bo.save(api_key="SG.the-key-of-bo") == 409
        assert "the-key-of-bo" not in bo.page
        assert Connection.objects.get().open("api_key_sealed") == "SG.the-key-of-ada"
        bo.save(api_key="SG.the-key-of-bo")
        assert Connection.objects.get().open("api_key_sealed") == "SG.the-key-of-bo"


class TestACustomer:
    @pytest.fixture
    def url(self) -> str:
        row = CustomerFactory(company_name="Larkfield", website="larkfield.example", tags=["key"])
        return reverse("customers:edit", args=[row.public_id])

    def test_saving_a_phone_from_an_older_page_keeps_the_new_website(self, url: str) -> None:
        Customer.objects.update(website="")
        ada, bo = two(url, "customer_success")
        assert ada.save(website="www.larkfield.example") == 303
        assert bo.save(phone="+49 30 1234567", owner=str(bo.person.public_id)) == 303
        row = Customer.objects.get()
        assert (row.website, row.phone, row.owner) == ("www.larkfield.example", "+49301234567", bo.person)

    def test_tags_of_two_people(self, url: str) -> None:
        ada, bo = two(url, "customer_success")
        ada.save(tags="key, north")
        assert bo.save(tags="key, south") == 409
        assert Customer.objects.get().tags == ["key", "north"]
        assert "key, north" in bo.page
        assert bo.save(**{"tags": "key, north, south", "choice-tags": "mine"}) == 303
        assert Customer.objects.get().tags == ["key", "north", "south"]

    def test_an_old_way_of_writing_is_left_as_it_is(self, url: str) -> None:
        Customer.objects.update(phone="+49 30 1234567")
        assert Editor(url, "customer_success").save(first_name="Lena") == 303
        assert Customer.objects.get().phone == "+49 30 1234567"


class TestATeamMember:
    def test_a_role_that_another_admin_changed(self) -> None:
        member = UserFactory(role="auditor")
        page = reverse("access:staff-member", args=[member.public_id])
        ada, bo = two(page)
        ada.url = bo.url = reverse("access:staff-role", args=[member.public_id])
        assert ada.save(role="finance") == 303
        assert bo.save(role="admin") == 409
        assert "Ada saved other values at" in bo.page
        assert User.objects.get(pk=member.pk).role == "finance"
        assert bo.save(**{"choice-role": "mine"}) == 303
        assert User.objects.get(pk=member.pk).role == "admin"

    def test_ones_own_profile_in_two_windows(self) -> None:
        one = Editor(reverse("profile"), "finance", "Bo")
        other = Editor(reverse("profile"), "finance", "Cy")
        sign_in(other.client, one.person)
        other.fields = fields_of(other.client.get(other.url).content.decode())
        assert one.save(name="Bo Berg") == 303
        assert other.save(timezone="Europe/Berlin") == 303
        row = User.objects.get(pk=one.person.pk)
        assert (row.name, row.timezone) == ("Bo Berg", "Europe/Berlin")
        assert one.save(name="Bo Bergman", timezone="Europe/Oslo") == 409
