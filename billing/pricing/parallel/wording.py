"""Reasons of a difference, and what keeps a statement from being exact, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing.models import LineKind
from billing.pricing.parallel import reasons
from billing.pricing.statements.amounts import minor_text
from billing.pricing.statements.labels import finding_label
from customers.connections.catalogue import offering_label
from customers.models import Account
from portal.formats import number_text

Accounts = Mapping[int, Account]


def reason_text(reason: Mapping[str, Any], currency: str, accounts: Accounts) -> str:
    """Return where an amount comes from, as "Overage is only in ours: 3 lines, €12.00"."""
    code = reason["code"]
    words: dict[str, Any] = {
        "amount": minor_text(abs(reason["amount"]), currency),
        "kind": _kind(reason.get("kind", "")),
        "offering": offering_label(reason.get("offering", "")),
        "n": reason.get("n", 0),
        "lines": ", ".join(str(each) for each in reason.get("lines", ())),
        "percent": reason.get("percent"),
        "account": _account(accounts.get(reason.get("account") or 0)),
    }
    counted = {
        reasons.KIND: ngettext(
            "%(kind)s isn't in theirs: %(n)d line, %(amount)s",
            "%(kind)s isn't in theirs: %(n)d lines, %(amount)s",
            words["n"],
        ),
        reasons.OFFERING: ngettext(
            "%(kind)s of %(offering)s isn't in theirs: %(n)d line, %(amount)s",
            "%(kind)s of %(offering)s isn't in theirs: %(n)d lines, %(amount)s",
            words["n"],
        ),
        reasons.ACCOUNT: _("The account %(account)s isn't in theirs: %(amount)s"),
        reasons.DISCOUNT: ngettext(
            "Theirs has no discount: %(n)d line, %(amount)s less in ours",
            "Theirs has no discount: %(n)d lines, %(amount)s less in ours",
            words["n"],
        ),
        reasons.FULL: ngettext(
            "Theirs has the full amount where ours is prorated by days: %(n)d line, %(amount)s",
            "Theirs has full amounts where ours are prorated by days: %(n)d lines, %(amount)s",
            words["n"],
        ),
        reasons.LAST_PACKAGE: ngettext(
            "Theirs has a full month of the last package, ours has each package by days: %(amount)s",
            "Theirs has full months of the last packages, ours has each package by days: %(n)d accounts, %(amount)s",
            words["n"],
        ),
        reasons.FIRST_PACKAGE: ngettext(
            "Theirs has a full month of the first package, ours has each package by days: %(amount)s",
            "Theirs has full months of the first packages, ours has each package by days: %(n)d accounts, %(amount)s",
            words["n"],
        ),
        reasons.PRORATED: ngettext(
            "Theirs is prorated by days where ours has the full amount: %(n)d line, %(amount)s",
            "Theirs are prorated by days where ours have full amounts: %(n)d lines, %(amount)s",
            words["n"],
        ),
        reasons.LINES: _("Lines %(lines)s (%(kind)s) together aren't in theirs: %(amount)s"),
        reasons.TAX: _("Theirs is ours and %(percent)d%% more, such as tax"),
    }
    if code == reasons.LINE:
        return _line(reason, words)
    return counted[code] % words if code in counted else ""


def _line(reason: Mapping[str, Any], words: Mapping[str, Any]) -> str:
    what = words["kind"]
    if reason.get("offering"):
        what = _("%(kind)s of %(offering)s") % words
    if words["account"] and reason.get("alike", 1) == 1:
        what = _("%(what)s, %(account)s") % {"what": what, "account": words["account"]}
    if reason.get("alike", 1) > 1:
        return _("One of %(alike)d lines as line %(n)d (%(what)s) isn't in theirs: %(amount)s") % {
            **words, "what": what, "alike": reason["alike"]
        }  # fmt: skip
    return _("Line %(n)d (%(what)s) isn't in theirs: %(amount)s") % {**words, "what": what}


def _kind(kind: str) -> str:
    return str(LineKind(kind).label) if kind in LineKind.values else kind


def _account(account: Account | None) -> str:
    return (account.email or account.provider_id or "") if account else ""


def finding_text(finding: Mapping[str, Any]) -> str:
    """Return what is missing, as "No usage data: 2 accounts"."""
    kind, n = finding["kind"], finding.get("n", 0)
    if kind == "other_currency":
        return _("The statement is in %(codes)s") % {"codes": ", ".join(finding["currencies"])}
    if kind == "no_statement":
        return _("No account and no contract in this month")
    text = str(finding_label(kind).title)
    if finding.get("offering"):
        text = f"{text} ({offering_label(finding['offering'])})"
    if not n:
        return text
    return ngettext("%(what)s: %(n)s account", "%(what)s: %(n)s accounts", n) % {"what": text, "n": number_text(n)}


def range_text(least: str, most: str, *, is_within: bool) -> str:
    """Return how theirs lies to an amount of ours that is an interval. `most` "": nothing limits it."""
    if is_within:
        return _("Ours isn't exact, and the file's amount is possible")
    if not most:
        return _("The file has less than the least that ours can be, %(least)s") % {"least": least}
    return _("The file's amount is outside %(least)s to %(most)s") % {"least": least, "most": most}


def sentences(
    found: Sequence[Mapping[str, Any]], missing: Sequence[Mapping[str, Any]], currency: str, accounts: Accounts
) -> list[str]:
    return [
        *(reason_text(each, currency, accounts) for each in found),
        *(finding_text(each) for each in missing),
    ]
