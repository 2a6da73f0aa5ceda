"""Forms of a key: one for the first key of a new account, a further key, and changing one.

The fields: label, scopes (a bundle with a readable name, or single scopes), IP allowlist, and whether the secret is
stored. `templates/customers/keys/_key_fields.html` shows them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from customers.accounts.keys.queries import bundle_of, family_of
from customers.forms import TokenForm
from customers.labels import joined_label, split_label
from customers.models import AccountKey, Connection
from portal.edits import EditForm, refuse_stale
from portal.providers import KeyBundle, NewKey
from portal.typed_text import TypedText, take_as_shown

# The value of `rights` that means: the scopes selected one by one.
SINGLE = "single"
WHY_DELETE_KEY = [
    ("replaced", gettext_lazy("Replaced by another key")),
    ("leaked", gettext_lazy("Leaked")),
    ("unused", gettext_lazy("No longer used")),
    ("other", gettext_lazy("Other")),
]
# The provider accepts 255; the operation's code follows the typed label (" · op_7C31AB").
LABEL_MAX = 240


class AddressesField(TypedText):
    """Addresses and networks, one in a line. The value is canonical, as providers store it: a network in every line,
    without host bits, each once, in the order typed."""

    widget = forms.Textarea
    default_error_messages = {
        "address": gettext_lazy(
            "Line %(line)d: “%(text)s” isn't an IP address or a CIDR range such as 203.0.113.0/24."
        ),
        "everyone": gettext_lazy(
            "Line %(line)d: “%(text)s” allows every IP address. To allow all, leave the list empty."
        ),
        "most": gettext_lazy("You entered %(count)d IP addresses. The maximum is %(most)d."),
    }

    def __init__(self, *, most: int = 100, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.most = most

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            value = "\n".join(value)
        lines = enumerate(re.split(r"[\n,;]", super().to_python(value) or ""), start=1)
        found = [self._network(line, text.strip()) for line, text in lines if text.strip()]
        return tuple(dict.fromkeys(str(each) for each in found))

    def _network(self, line: int, text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        shown = {"line": line, "text": text[:60]}
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise forms.ValidationError(self.error_messages["address"], code="address", params=shown) from None
        if network.prefixlen == 0:
            raise forms.ValidationError(self.error_messages["everyone"], code="everyone", params=shown)
        return network

    def validate(self, value: Any) -> None:
        super().validate(value)
        if len(value) > self.most:
            shown = {"count": len(value), "most": self.most}
            raise forms.ValidationError(self.error_messages["most"], code="most", params=shown)

    def run_validators(self, value: Any) -> None:
        super().run_validators("\n".join(value))

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list | tuple) else value


class KeyForm(forms.Form):
    """The form of a key. `key` is the one that is changed, None for a new one: only a new one has a secret to store.

    `new_key`, `keeps` and `changes()` are for a valid form.
    """

    label = TypedText(
        label=gettext_lazy("Label"),
        max_length=LABEL_MAX,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": gettext_lazy("Enter a label, such as “Web shop”.")},
    )
    rights = forms.ChoiceField(
        label=gettext_lazy("Permissions"),
        widget=forms.RadioSelect,
        error_messages={"required": gettext_lazy("Select the key's permissions.")},
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Scopes"), widget=forms.CheckboxSelectMultiple, required=False
    )
    ip_allow_list = AddressesField(
        label=gettext_lazy("IP allowlist"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocomplete": "off"}),
    )
    keep = forms.BooleanField(label=gettext_lazy("Store this key (encrypted) for sending setup"), required=False)

    def __init__(
        self,
        connection: Connection,
        data: Mapping[str, Any] | None = None,
        *,
        key: AccountKey | None = None,
        initial: dict[str, Any] | None = None,
        prefix: str | None = None,
    ) -> None:
        self.capabilities = connection.capabilities
        self.key = key
        super().__init__(data, initial=self._start() | (initial or {}), prefix=prefix)
        if key:
            take_as_shown(self, {"label": split_label(key.label)[0]})
        bundles = [(each.name, _(each.label)) for each in self.capabilities.key_bundles]
        self.fields["rights"].choices = [*bundles, (SINGLE, _("Custom"))]  # type: ignore[attr-defined]  # a choice
        known = dict.fromkeys([*self.capabilities.key_scopes, *(key.scopes if key else [])])
        self.fields["scopes"].choices = [(each, each) for each in known]  # type: ignore[attr-defined]
        self.fields["ip_allow_list"].most = self.capabilities.ip_allow_list_max  # type: ignore[attr-defined]
        if key or not (connection.keep_keys and self.capabilities.sending_setup):
            del self.fields["keep"]

    def _start(self) -> dict[str, Any]:
        if self.key is None:
            return {"rights": self.capabilities.key_bundles[0].name if self.capabilities.key_bundles else SINGLE}
        bundle = bundle_of(self.capabilities, self.key.scopes)
        return {
            "label": split_label(self.key.label)[0],
            "rights": bundle.name if bundle else SINGLE,
            "scopes": sorted(self.key.scopes),
            "ip_allow_list": self.key.ip_allow_list,
        }

    def clean_scopes(self) -> list[str]:
        return sorted(self.cleaned_data["scopes"])

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("rights") == SINGLE and not values.get("scopes") and "scopes" not in self.errors:
            self.add_error("scopes", _("Select at least one scope or a predefined permission set."))
        return values

    # -- for the page ------------------------------------------------------------------------------------------

    @property
    def bundles(self) -> list[tuple[KeyBundle, bool]]:
        """The bundles, each with whether it is the chosen one."""
        return [(each, each.name == self["rights"].value()) for each in self.capabilities.key_bundles]

    @property
    def is_single(self) -> bool:
        return bool(self["rights"].value() == SINGLE)

    @cached_property
    def families(self) -> list[tuple[str, list[tuple[int, str, bool]]]]:
        """The single scopes by topic: number, scope, selected."""
        ticked = set(self["scopes"].value() or [])
        found: dict[str, list[tuple[int, str, bool]]] = {}
        for number, (scope, _label) in enumerate(self.fields["scopes"].choices):  # type: ignore[attr-defined]
            found.setdefault(family_of(scope), []).append((number, scope, scope in ticked))
        return list(found.items())

    # -- for a valid form --------------------------------------------------------------------------------------

    @property
    def chosen_scopes(self) -> tuple[str, ...]:
        """The selected scopes in the order they are offered. Where a scope for all domains is chosen, the same for one
        domain is dropped, as the provider does."""
        rights = self.cleaned_data["rights"]
        if rights != SINGLE:
            return next(each.scopes for each in self.capabilities.key_bundles if each.name == rights)
        chosen = set(self.cleaned_data["scopes"])
        offered = [scope for scope, _label in self.fields["scopes"].choices]  # type: ignore[attr-defined]
        return tuple(each for each in offered if each in chosen and not _swallowed(each, chosen))

    @property
    def new_key(self) -> NewKey:
        values = self.cleaned_data
        return NewKey(values["label"], self.chosen_scopes, values["ip_allow_list"])

    @property
    def keeps(self) -> bool:
        return bool(self.cleaned_data.get("keep"))

    def changes(self, key: AccountKey) -> dict[str, Any]:
        """Return what differs from the key as it was read: label, scopes, ip_allow_list. {} = nothing does."""
        new, (_typed, code) = self.new_key, split_label(key.label)
        label = joined_label(new.label, code)
        changed: dict[str, Any] = {"label": label} if label != key.label else {}
        if set(new.scopes) != set(key.scopes):
            changed["scopes"] = list(new.scopes)
        if set(new.ip_allow_list) != set(key.ip_allow_list):
            changed["ip_allow_list"] = list(new.ip_allow_list)
        return changed

    def rewritten(self) -> list[tuple[str, str]]:
        """Return the addresses that are saved in another form than typed, to be shown to the user."""
        lines = re.split(r"[\n,;]", str(self["ip_allow_list"].value() or ""))
        pairs = [
            (text.strip(), str(ipaddress.ip_network(text.strip(), strict=False))) for text in lines if text.strip()
        ]
        return [
            (typed, kept) for typed, kept in dict.fromkeys(pairs) if kept not in (typed, f"{typed}/32", f"{typed}/128")
        ]


def _swallowed(scope: str, chosen: set[str]) -> bool:
    stem, _colon, last = scope.rpartition(":")
    return last != "all" and f"{stem}:all" in chosen


class KeyRequestForm(KeyForm, TokenForm):
    """The form of a new key's own page."""


class KeyEditForm(KeyForm, EditForm, TokenForm):
    """The form of a key that is changed."""

    not_compared = frozenset({"client_token"})
    _OF_SCOPES = frozenset({"rights", "scopes"})

    def edits(self, key: AccountKey) -> dict[str, Any]:
        """Return what a valid form changes of the key as it was read last. Raises `EditConflict` where that changed
        since the form was opened."""
        edited = self.changed_facts()
        refuse_stale(self.stored(), edited, self.seen)
        changed = self.changes(key)
        return {
            name: value
            for name, value in changed.items()
            if edited.keys() & (self._OF_SCOPES if name == "scopes" else {name})
        }


class RotateForm(TokenForm):
    """A new key in place of an old one: when the old one is deleted, and whether the new secret is stored."""

    LATER, THEN = "later", "then"
    old = forms.ChoiceField(
        label=gettext_lazy("Delete the old key"),
        widget=forms.RadioSelect,
        choices=[
            (LATER, gettext_lazy("Manually, after the customer has switched to the new key")),
            (THEN, gettext_lazy("As soon as the new key exists. Anything still using the old key stops working.")),
        ],
        initial=LATER,
    )
    keep = forms.BooleanField(label=gettext_lazy("Store the new key (encrypted) for sending setup"), required=False)

    def __init__(self, *args: Any, connection: Connection, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not (connection.keep_keys and connection.capabilities.sending_setup):
            del self.fields["keep"]

    @property
    def keeps(self) -> bool:
        return bool(self.cleaned_data.get("keep"))

    @property
    def deletes_old(self) -> bool:
        return bool(self.cleaned_data["old"] == self.THEN)
