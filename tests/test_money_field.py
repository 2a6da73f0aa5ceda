"""Amounts as integers in the database: exact when they are stored, compared, and added up."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import FieldError, ValidationError
from django.db import DatabaseError, connection, models, transaction
from django.db.models import Avg, F, Max, Min, Sum, Value
from django.test.utils import isolate_apps

from portal.money_field import ScaledDecimalField, rounded

MANY = 100_000
POSTGRES = connection.vendor == "postgresql"
LARGEST = Decimal("999999999999.999999")


@pytest.fixture
def table(db: None) -> Any:
    """A model of its own with two amounts, and its empty table."""
    with isolate_apps("billing"):

        class Amount(models.Model):
            cost = ScaledDecimalField(null=True)
            limit = ScaledDecimalField(null=True)

            class Meta:
                app_label = "billing"
                db_table = "amounts"

            def __str__(self) -> str:
                return str(self.cost)

    sql, _params = connection.schema_editor().table_sql(Amount)
    with connection.cursor() as cursor:
        cursor.execute(sql)
    return Amount


def add(table: Any, *costs: str | Decimal | int | None) -> None:
    table.objects.bulk_create(table(cost=each if each is None else Decimal(each)) for each in costs)


def repeat_rows(times: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO amounts (cost) WITH RECURSIVE numbers(n) AS "
            "(SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s) SELECT cost FROM amounts, numbers",
            [times],
        )


def total(table: Any) -> Any:
    return table.objects.aggregate(total=Sum("cost"))["total"]


def test_many_amounts_add_up_to_the_last_digit(table: Any) -> None:
    """A `DecimalField` on SQLite returns 7006261819.85002 here, with rounding errors of the sum in its last digits."""
    costs = [Decimal("70012.6667") + Decimal("0.100003") * number for number in range(1_000)]
    add(table, *costs)
    repeat_rows(MANY // len(costs))
    assert table.objects.count() == MANY
    found = total(table)
    assert isinstance(found, Decimal)
    assert found == sum(costs) * (MANY // len(costs))


def test_a_sum_of_nothing_is_none(table: Any) -> None:
    assert total(table) is None
    add(table, None)
    assert total(table) is None


def test_a_sum_beyond_64_bits_is_exact_or_an_error(table: Any) -> None:
    """Ten of the largest amounts are more than 64 bits. SQLite refuses to add them up, and never returns a float."""
    add(table, *[LARGEST] * 9)
    assert total(table) == 9 * LARGEST
    add(table, LARGEST)
    if connection.vendor == "postgresql":
        assert total(table) == 10 * LARGEST
        repeat_rows(MANY // 10)
        assert total(table) == MANY * LARGEST
    else:
        with pytest.raises(DatabaseError, match="integer overflow"), transaction.atomic():
            total(table)


@pytest.mark.parametrize(
    "cost", ["0", "0.000001", "-0.000001", "0.1", "66.666667", "-12.5", "1000000.01", LARGEST, -LARGEST, "1.00000000"]
)
def test_an_amount_comes_back_as_it_was_stored(table: Any, cost: str | Decimal) -> None:
    add(table, cost)
    found = table.objects.get()
    assert isinstance(found.cost, Decimal)
    assert found.cost == Decimal(cost)
    assert found.limit is None
    with connection.cursor() as cursor:
        cursor.execute("SELECT cost FROM amounts")
        assert cursor.fetchone() == (Decimal(cost) if POSTGRES else int(Decimal(cost) * 1_000_000),)
    assert table.objects.filter(cost=Decimal(cost)).exists()


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (0.1, "invalid"), (1.0, "invalid"), (True, "invalid"), ("ten", "invalid"), (b"1", "invalid"), ([], "invalid"),
        (Decimal("NaN"), "invalid"), ("Infinity", "invalid"), (Decimal("0.0000001"), "digits"),
        ("66.66666666666667", "digits"), (Decimal("1E+12"), "digits"), (-(10**12), "digits"), (2**63, "digits"),
        (LARGEST + Decimal("0.000001"), "digits"), (Decimal("1E-999999"), "digits"),
    ],
)  # fmt: skip
def test_what_would_lose_a_digit_is_refused(table: Any, value: Any, code: str) -> None:
    row = table.objects.create(cost=Decimal("1.5"))
    attempts = (
        lambda: table(cost=value).clean_fields(),
        lambda: table(cost=value).save(),
        lambda: table.objects.bulk_create([table(cost=value)]),
        lambda: table.objects.update(cost=value),
        lambda: table.objects.filter(cost__gte=value).exists(),
        lambda: table.objects.filter(cost__in=[value]).exists(),
    )
    for attempt in attempts:
        with pytest.raises(ValidationError) as refused, transaction.atomic():
            attempt()
        error = getattr(refused.value, "error_dict", {"cost": [refused.value]})["cost"][0]
        assert error.code == code
    row.refresh_from_db()
    assert (table.objects.count(), row.cost) == (1, Decimal("1.5"))


def test_a_refusal_names_the_value_and_its_type() -> None:
    with pytest.raises(ValidationError, match=r"“0\.1” \(float\) is not an exact decimal number"):
        ScaledDecimalField().to_python(0.1)
    with pytest.raises(ValidationError, match=r"“0\.0000001” has more than 12 digits or more than 6 decimal places"):
        ScaledDecimalField().to_python("0.0000001")


def test_amounts_compare_as_numbers(table: Any) -> None:
    add(table, "9.5", "10", None, "-1")
    table.objects.filter(cost=10).update(limit=Decimal("9.999999"))
    table.objects.filter(cost=Decimal("9.5")).update(limit=F("cost"))

    def found(**lookup: Any) -> list[Decimal | None]:
        return list(table.objects.filter(**lookup).order_by("cost").values_list("cost", flat=True))

    assert found(cost__gt=Decimal("9.499999")) == [Decimal("9.5"), 10]
    assert found(cost__lt="9.5") == [-1]
    assert found(cost__in=[10, -1]) == [-1, 10]
    assert found(cost__range=(0, Decimal("9.5"))) == [Decimal("9.5")]
    assert found(cost__isnull=True) == [None]
    assert found(cost=None) == [None]
    assert found(cost__gt=F("limit")) == [10]
    assert found(cost=F("limit")) == [Decimal("9.5")]
    assert table.objects.aggregate(low=Min("cost"), high=Max("cost")) == {"low": -1, "high": 10}


def test_what_would_return_millionths_is_an_error(table: Any) -> None:
    add(table, "1", "2.000001")
    with pytest.raises(FieldError):
        list(table.objects.annotate(twice=F("cost") + F("cost")))
    with pytest.raises(FieldError):
        list(table.objects.annotate(twice=F("cost") * 2))
    for change in (F("cost") + 1, F("cost") * F("cost")):
        with pytest.raises(FieldError), transaction.atomic():
            table.objects.update(cost=change)
    for change in (Value(1), F("id")):
        with pytest.raises(TypeError, match="is not a ScaledDecimalField"), transaction.atomic():
            table.objects.update(cost=change)
    for rows in (table.objects.all(), table.objects.filter(cost=1)):
        with pytest.raises(TypeError, match=r"whole number of 0\.000001"):
            rows.aggregate(mean=Avg("cost"))


def test_a_bulk_update_writes_the_amounts(table: Any) -> None:
    add(table, "1", "2")
    rows = list(table.objects.order_by("pk"))
    rows[0].cost, rows[1].cost = Decimal("0.3"), None
    table.objects.bulk_update(rows, ["cost"])
    assert list(table.objects.order_by("pk").values_list("cost", flat=True)) == [Decimal("0.3"), None]
    table.objects.update(limit=Value(Decimal("0.7"), output_field=ScaledDecimalField()))
    assert set(table.objects.values_list("limit", flat=True)) == {Decimal("0.7")}


def test_a_field_is_written_into_a_migration_as_it_is() -> None:
    field = ScaledDecimalField(null=True)
    field.set_attributes_from_name("cost")
    assert field.deconstruct() == ("cost", "portal.money_field.ScaledDecimalField", [], {"null": True})
    assert field.clone().db_type(connection) == ("numeric(18, 6)" if POSTGRES else "bigint")


def test_reported_amounts_are_rounded_to_six_places() -> None:
    assert str(rounded(Decimal("66.66666666666667"))) == "66.666667"
    assert str(rounded(Decimal(8))) == "8.000000"
