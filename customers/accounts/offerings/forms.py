"""Forms to choose offerings: one package and quantities of add-ons, built from the connection's catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.forms.boundfield import BoundField
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.accounts.editor import SeenField, SeenForm
from customers.connections import catalogue
from customers.connections.catalogue import IPS, SENDS, SUBUSERS, TEAMMATES, OfferingChoice
from customers.models import Connection
from portal.providers import ProviderOffering
from portal.providers.parsing import whole
from portal.query_params import is_storable

MOST = 1000


@dataclass(frozen=True)
class PackageRow:
    """A package that can be chosen. `used`: this period's usage, None where it is not known."""

    choice: OfferingChoice
    chosen: bool
    now: bool
    used: int | None

    @property
    def sends(self) -> int | None:
        return self.choice.entitlements.get(SENDS)

    @property
    def limits(self) -> dict[str, int | None]:
        """The other limits of the package; None where the catalog does not say."""
        return {name: self.choice.entitlements.get(name) for name in (IPS, TEAMMATES, SUBUSERS)}

    @property
    def left(self) -> int | None:
        return None if self.sends is None or self.used is None else self.sends - self.used

    @property
    def over(self) -> int:
        """By how much this period's usage exceeds the package already; 0 when it does not, or usage is not known."""
        return -min(self.left or 0, 0)


@dataclass(frozen=True)
class AddonRow:
    choice: OfferingChoice
    bound: BoundField
    now: int
    after: int


class OfferingsForm(forms.Form):
    """The chosen offerings: `package` is a radio of names, `addon-<name>` a quantity for each add-on.

    `initial` is the list the account has. What of it is not in the catalog is preserved: an unknown add-on can only be
    lowered, an offering of an unknown type is carried along unchanged, and a field that was not sent stays as it was.
    """

    package = forms.ChoiceField(
        label=gettext_lazy("Package"),
        widget=forms.RadioSelect,
        error_messages={
            "required": gettext_lazy("Choose a package."),
            "invalid_choice": gettext_lazy("This package is no longer in the catalog. Choose another."),
        },
    )

    def __init__(
        self,
        connection: Connection,
        data: Mapping[str, Any] | None = None,
        initial: Iterable[ProviderOffering] = (),
        *,
        used: int | None = None,
        start: Iterable[ProviderOffering] | None = None,
        **kwargs: Any,
    ) -> None:
        """Set up the form. `start`: the values shown before anything is chosen, where those are not `initial`."""
        self.connection, self.used = connection, used
        self.catalogue = catalogue.known(connection)
        self.now = {each.name: each for each in initial}
        begin = self.now if start is None else {each.name: each for each in start}
        package = next((each.name for each in begin.values() if each.type == "package"), None)
        super().__init__(data, initial={"package": package}, **kwargs)
        self._packages = sorted(self._of_type("package"), key=catalogue.by_size)
        self._addons = sorted(self._of_type("addon"), key=lambda each: each.label)
        self.fields["package"].choices = [(each.name, each.label) for each in self._packages]  # type: ignore[attr-defined]
        for each in self._addons:
            had = self.now[each.name].quantity if each.name in self.now else 0
            shown = begin[each.name].quantity if each.name in begin else 0
            most = max(had, shown, MOST if each.sold else 0)  # what an account has is allowed
            self.fields[f"addon-{each.name}"] = _quantity(each, shown, most)

    def _of_type(self, kind: str) -> list[OfferingChoice]:
        sold = {each.name: each for each in self.catalogue.values() if each.sold and each.type == kind}
        kept = {
            name: self.catalogue.get(name, OfferingChoice(name, kind, catalogue.offering_label(name), {}, sold=False))
            for name, each in self.now.items()
            if each.type == kind and name not in sold
        }
        return [*sold.values(), *kept.values()]

    def chosen(self) -> list[ProviderOffering]:
        """Return the full list as it would be sent; what is not valid yet is left out."""
        if self.is_bound:
            self.is_valid()
        values = getattr(self, "cleaned_data", {}) if self.is_bound else self.initial
        name = values.get("package")
        package = [ProviderOffering(name, "package", 1)] if name else []
        quantities = {each.name: self._quantity_of(each, values) for each in self._addons}
        addons = [ProviderOffering(each, "addon", count) for each, count in quantities.items() if count]
        return package + addons + [each for each in self.now.values() if each.type not in ("package", "addon")]

    def _quantity_of(self, addon: OfferingChoice, values: Mapping[str, Any]) -> int:
        name = f"addon-{addon.name}"
        if self.is_bound:
            value = values.get(name)
            return int(value if value is not None else self.fields[name].initial or 0)
        try:
            return int(self.fields[name].clean(self[name].value()) or 0)
        except forms.ValidationError:
            return 0

    def packages(self) -> list[PackageRow]:
        chosen = self["package"].value()
        return [PackageRow(each, each.name == chosen, each.name in self.now, self.used) for each in self._packages]

    def addons(self) -> list[AddonRow]:
        after = {each.name: each.quantity for each in self.chosen()}
        return [
            AddonRow(
                each,
                self[f"addon-{each.name}"],
                self.now[each.name].quantity if each.name in self.now else 0,
                after.get(each.name, 0),
            )
            for each in self._addons
        ]

    def now_list(self) -> list[ProviderOffering]:
        return list(self.now.values())

    def carried(self) -> list[ProviderOffering]:
        """Return the offerings of an unknown type: preserved as they came."""
        return [each for each in self.now.values() if each.type not in ("package", "addon")]

    def gives(self) -> str:
        """Return the entitlements of the choice, in words."""
        given = catalogue.entitlements_of(self.connection, self.chosen(), catalogue=self.catalogue)
        return catalogue.gives_text(given)


def _quantity(choice: OfferingChoice, shown: int, most: int) -> forms.IntegerField:
    widget = forms.NumberInput(attrs={"inputmode": "numeric", "aria-label": _("Quantity of %s") % choice.label})
    return forms.IntegerField(
        label=choice.label, min_value=0, max_value=most, initial=shown, required=False, widget=widget
    )


def _offerings(rows: Any) -> list[ProviderOffering]:
    return [_offering(row) for row in list.copy(rows)]  # a TypeError for anything but a list


def _offering(row: Any) -> ProviderOffering:
    name, kind, quantity = row["name"], row["type"], whole(row["quantity"])
    if not is_storable(name) or not is_storable(kind) or quantity is None:
        raise ValueError
    return ProviderOffering(name, kind, quantity)


class OfferingListField(SeenField):
    load = staticmethod(_offerings)


class OfferingsChangeForm(SeenForm):
    """The list the user saw, and the confirmation of what is lost."""

    base = OfferingListField(required=False)
    checked = forms.BooleanField(
        label=gettext_lazy("I've confirmed these changes with the customer."),
        error_messages={"required": gettext_lazy("Select this box to continue.")},
    )


def rebase(
    base: list[ProviderOffering], found: list[ProviderOffering], wanted: list[ProviderOffering]
) -> list[ProviderOffering]:
    """Apply a user's changes to a list that changed meanwhile. Where both changed a line, the user's wins."""
    was, now, mine = (_by_slot(each) for each in (base, found, wanted))
    merged = {slot: now.get(slot) if mine.get(slot) == was.get(slot) else mine.get(slot) for slot in [*now, *mine]}
    return [each for each in merged.values() if each is not None]


def _by_slot(offerings: list[ProviderOffering]) -> dict[str, ProviderOffering]:
    """Return offerings by line. The package is one line whatever its name: there is exactly one."""
    return {each.type if each.type == "package" else each.name: each for each in offerings}
