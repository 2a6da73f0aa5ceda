"""Forms of a bulk change: the change itself, and its rejection."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.bulk.keys import LATER, THEN
from customers.bulk.plan import permissions_of_change
from customers.connections import catalogue
from customers.forms import TokenForm
from customers.models import ChangeSet, Connection, Offering
from portal.access.models import User
from portal.typed_text import TypedText

# Which of the fields each kind needs. A delete is requested on the account's own page.
NEEDS = {
    ChangeSet.Kind.PACKAGE: "package",
    ChangeSet.Kind.ADDON_ADD: "addon",
    ChangeSet.Kind.ADDON_REMOVE: "addon",
    ChangeSet.Kind.CAP: "cap",
    ChangeSet.Kind.TAG_ADD: "tag",
    ChangeSet.Kind.TAG_REMOVE: "tag",
    ChangeSet.Kind.KEY_ROTATE: "old",
}
WANTED_AS = {"package": "offering", "addon": "offering", "cap": "cap", "tag": "tag", "old": "old"}
OLD_KEYS = [
    (LATER, gettext_lazy("Later, in another bulk change, once the customers use the new keys")),
    (THEN, gettext_lazy("As soon as the new key exists. Anything still using the old key stops working.")),
]


class BulkChangeForm(TokenForm):
    kind = forms.ChoiceField(
        label=gettext_lazy("Action"),
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Select an action.")},
    )
    package = forms.ChoiceField(label=gettext_lazy("Package"), required=False)
    addon = forms.ChoiceField(label=gettext_lazy("Add-on"), required=False)
    cap = forms.IntegerField(
        label=gettext_lazy("Monthly cap"),
        required=False,
        min_value=0,
        max_value=2_000_000_000,
    )
    tag = TypedText(label=gettext_lazy("Tag"), required=False, max_length=40)
    old = forms.ChoiceField(
        label=gettext_lazy("Delete the old keys"), widget=forms.RadioSelect, choices=OLD_KEYS, required=False
    )
    reason = TypedText(
        label=gettext_lazy("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": gettext_lazy("Enter a reason. It's recorded in the audit log.")},
    )

    def __init__(self, *args: Any, person: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        can = [each.capabilities for each in Connection.objects.all()]
        kinds = [
            ChangeSet.Kind.SUSPEND,
            ChangeSet.Kind.UNSUSPEND,
            *(
                [ChangeSet.Kind.PACKAGE, ChangeSet.Kind.ADDON_ADD, ChangeSet.Kind.ADDON_REMOVE]
                if any(c.offerings for c in can)
                else []
            ),
            *([ChangeSet.Kind.CAP] if any(c.settings for c in can) else []),
            ChangeSet.Kind.TAG_ADD,
            ChangeSet.Kind.TAG_REMOVE,
            *([ChangeSet.Kind.KEY_ROTATE, ChangeSet.Kind.KEY_DELETE] if any(c.keys for c in can) else []),
        ]
        permitted = [kind for kind in kinds if all(person.may(each) for each in permissions_of_change(kind))]
        self._choices("kind", [(kind.value, str(kind.label)) for kind in permitted])
        offered = {NEEDS.get(kind) for kind in kinds}
        for name in {"package", "addon", "cap", "old"} - offered:
            del self.fields[name]
        sold = Offering.objects.filter(gone_at=None).order_by("name").values_list("type", "name").distinct()
        for name in {"package", "addon"} & offered:
            found = [(offering, catalogue.offering_label(offering)) for kind, offering in sold if kind == name]
            self._choices(name, [("", _("Select")), *found])

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]  # of a ChoiceField

    def clean(self) -> dict[str, Any]:
        said = super().clean() or {}
        needed = NEEDS.get(said.get("kind", ""))
        if needed == "tag":
            said["tag"] = " ".join((said.get("tag") or "").replace(",", " ").split())
        if needed and needed not in self.errors and said.get(needed) in (None, ""):
            self.add_error(needed, _("This field is required for the selected action."))
        return said

    def wanted(self) -> dict[str, Any]:
        needed = NEEDS.get(self.cleaned_data["kind"])
        return {WANTED_AS[needed]: self.cleaned_data[needed]} if needed else {}


class RefuseForm(forms.Form):
    """The reason for a rejection."""

    reason = TypedText(
        max_length=800, error_messages={"required": gettext_lazy("Enter a reason. The requester will see it.")}
    )
