"""Rates a case a second time, from the rules alone: day by day, with exact fractions, without code of the product.

It is slow and obvious on purpose. It reads the JSON form and returns what `manage.py rate` prints, unexplained.
"""

from __future__ import annotations

import calendar
import math
from datetime import date, timedelta
from fractions import Fraction
from itertools import groupby
from typing import Any

PLACES = {"JPY": 0, "EUR": 2, "USD": 2, "KWD": 3}
# Stands for an interval's most that nobody knows. What is far above every real number came from it.
ENDLESS = 10**60
ENDLESS_AT_CHANGE = 10**50
FAR = 10**30
SUSPENDED = ("stopped_by_us", "stopped_by_provider", "banned")
Json = dict[str, Any]


def rate_case(case: Json) -> Json:
    return Rater(case).rated()


def adjust_case(case: Json) -> list[Json]:
    """R9: keep a book of what was billed so far, and post to it whatever a late figure makes different."""
    accounts = [dict(account) for account in case.get("accounts", [])]
    book = _book({**case, "accounts": accounts})
    begins: dict[tuple[str, str], str] = {}
    found = []
    for late in case.get("late_figures", []):
        period = late["period"]
        name = (late["account"], late.get("replaces") or period["start"])
        was = [
            each
            for account in accounts
            if account["id"] == late["account"]
            for each in account.get("periods", [])
            if each["start"] == begins.get(name, name[1])
        ]
        if was and all(
            was[0].get(member, other) == period.get(member, other)
            for member, other in (("start", ""), ("end", ""), ("status", "final"), ("used", None), ("high", None))
        ):
            found.append({"undecided": set(), "lines": []})
            continue
        taken = set(days_between(day(period["start"]), day(period["end"])))
        now = []
        for account in accounts:
            periods = account.get("periods", [])
            if account["id"] == late["account"]:
                periods = [
                    each
                    for each in periods
                    if each["start"] != begins.get(name, name[1])
                    and not taken & set(days_between(day(each["start"]), day(each["end"])))
                ]
                periods.append(period)
            now.append({**account, "periods": periods})
        rater = Rater({**case, "accounts": now})
        rater.rated()
        doubts = {
            code for code, account, start in rater.findings if (account, start) == (late["account"], period["start"])
        } & {"missing", "disputed", "not_final", "interval", "open_ended"}
        postings = []
        if not doubts:
            accounts, begins[name] = now, period["start"]
            billed, book = book, _book({**case, "accounts": accounts})
            postings = [_posting(rater, key, billed.get(key), book.get(key)) for key in dict.fromkeys([*billed, *book])]
        found.append({"undecided": doubts, "lines": [each for each in postings if each]})
    return found


def _book(case: Json) -> dict[Any, Json]:
    """What is billed: units and money of each service at each price."""
    rater = Rater(case)
    rater.rated()
    return {
        (
            line["account"] or "", line["kind"], line["offering"], line["service"]["start"], line["tier"],
            Fraction(line["rate"]), line["per"],
        ): line
        for line in rater.lines
    }  # fmt: skip


def _posting(rater: Rater, key: Any, was: Json | None, now: Json | None) -> Json | None:
    def moved(name: str) -> int:
        return int((now[name] if now else 0) - (was[name] if was else 0))

    units, gross, discount = moved("quantity"), moved("minor_gross"), moved("minor_discount")
    if not (units or gross or discount):
        return None
    line = now or was or {}
    return {
        "account": line["account"], "kind": line["kind"], "offering": line["offering"], "service": line["service"],
        "period": line["period"], "tier": line["tier"], "rate": key[5], "per": line["per"], "quantity": units,
        "gross": rater.money(gross), "discount": rater.money(discount), "amount": rater.money(gross - discount),
        "account_code": line["account_code"], "tax_code": line["tax_code"], "version": line["version"],
    }  # fmt: skip


def rounded(value: Fraction) -> int:
    """Half up, away from zero at the half."""
    away = math.floor(abs(value) + Fraction(1, 2))
    return away if value >= 0 else -away


def day(text: str) -> date:
    return date.fromisoformat(text)


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def on_day(spans: list[Json], on: date) -> Json | None:
    """The last of the spans that began until then."""
    begun = [span for span in spans if day(span["from"]) <= on]
    return begun[-1] if begun else None


def holds(dated: Json, on: date) -> bool:
    until = dated.get("valid_until")
    return day(dated["valid_from"]) <= on and (until is None or on <= day(until))


class Rater:
    def __init__(self, case: Json) -> None:
        self.case = case
        self.cost = case["side"] == "cost"
        self.places = PLACES[case["currency"]]
        year, month = map(int, case["month"].split("-"))
        self.first = date(year, month, 1)
        self.last = date(year, month, calendar.monthrange(year, month)[1])
        self.lines: list[Json] = []
        self.findings: set[tuple[str, str, str]] = set()

    def rated(self) -> Json:
        for account in self.case.get("accounts", []):
            for period in account.get("periods", []):
                self.rate_period(account, period)
        self.true_up()
        self.lines = [line for line in self.lines if line["quantity"] or line["quantity_high"]]
        low = sum(line["minor"] for line in self.lines)
        high = sum(line["minor_high"] for line in self.lines)
        exchange = self.case.get("exchange_rate")
        return {
            "lines": [self.written(line) for line in self.lines],
            "total": self.total(self.case["currency"], low, high),
            "converted": self.exchanged(exchange, low, high) if exchange else None,
            "shares": self.shares(self.case["invoice"]) if self.case.get("invoice") else [],
            "findings": self.findings,
        }

    # Money as text

    def money(self, minor: int, places: int | None = None) -> str:
        places = self.places if places is None else places
        digits = str(abs(minor)).rjust(places + 1, "0")
        text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
        return f"-{text}" if minor < 0 else text

    def total(self, currency: str, low: int, high: int) -> Json:
        places = PLACES[currency]
        most = "open_ended" if high > FAR else self.money(high, places)
        return {"currency": currency, "amount": self.money(low, places), "amount_high": most}

    def exchanged(self, exchange: Json, low: int, high: int) -> Json:
        ours, rate = self.case["currency"], Fraction(exchange["rate"])
        if exchange["per_one"] == ours:
            other, factor = exchange["units_of"], rate
        else:
            other, factor = exchange["per_one"], 1 / rate
        scale = Fraction(10) ** (PLACES[other] - self.places)
        return self.total(other, rounded(low * factor * scale), rounded(high * factor * scale))

    def written(self, line: Json) -> Json:
        most, quantity_high = line["minor_high"], line["quantity_high"]
        shown = {key: value for key, value in line.items() if not key.startswith("minor")}
        shown["gross"], shown["discount"] = self.money(line["minor_gross"]), self.money(line["minor_discount"])
        shown["amount"] = self.money(line["minor"])
        shown["amount_high"] = None if most == line["minor"] else "open_ended" if most > FAR else self.money(most)
        if quantity_high == line["quantity"]:
            shown["quantity_high"] = None
        elif quantity_high > FAR:
            shown["quantity_high"] = "open_ended"
        return shown

    # Which prices

    def contract_on(self, on: date) -> Json | None:
        return next((each for each in self.case.get("contracts", []) if holds(each, on)), None)

    def price_list(self, provider: str, contract: Json | None) -> Json | None:
        for each in self.case.get("price_lists", []):
            if each["provider"] == provider and (contract is None or each["id"] in contract["price_lists"]):
                return dict(each)
        return None

    def prices_of(self, price_list: Json, contract: Json | None, offering: str, start: date) -> dict[str, Json] | None:
        """The components of an offering: of the version valid on the first day, else of the first later one with it."""
        versions = sorted(price_list["versions"], key=lambda each: str(each["valid_from"]))
        valid = [version for version in versions if day(version["valid_from"]) <= start]
        later = [version for version in versions if day(version["valid_from"]) > start]
        for version in [*valid[-1:], *later]:
            found = {p["component"]: dict(p) for p in version["prices"] if p.get("offering", "") == offering}
            if found:
                for override in contract.get("overrides", []) if contract else []:
                    name = override["component"]
                    if holds(override, start) and override.get("offering", "") == offering and name in found:
                        fields = {k: v for k, v in override.items() if not k.startswith("valid_")}
                        found[name].update(fields)
                for price in found.values():
                    price["version"] = version["id"]
                return found
        return None

    def percent(self, contract: Json | None, kind: str, start: date) -> Fraction:
        for each in contract.get("discounts", []) if contract else []:
            if holds(each, start) and kind in each["kinds"]:
                return Fraction(each["percent"])
        return Fraction(0)

    # One period

    def rate_period(self, account: Json, period: Json) -> None:
        start, end = day(period["start"]), day(period["end"])
        if not self.first <= end <= self.last or (account.get("test") and not self.cost):
            return
        billing_starts = account.get("billing_starts_on")
        if billing_starts and end < day(billing_starts):
            return
        if account.get("owners"):
            owner = on_day(account["owners"], end)
            if owner is None or owner["customer"] != self.case.get("customer", ""):
                return
        Period(self, account, period, start, end).rate()

    def true_up(self) -> None:
        contract = self.contract_on(self.last)
        commit = contract.get("commit") if contract else None
        if not contract or not commit:
            return
        month = days_between(self.first, self.last)
        covered = [on for on in month if holds(contract, on)] if commit.get("prorated") else month
        due = rounded(Fraction(commit["amount"]) * len(covered) / len(month) * 10**self.places)
        eligible = [line for line in self.lines if line["kind"] in ("base", "addon", "dedicated_ip", "overage")]
        low = max(0, due - sum(line["minor"] for line in eligible))
        high = max(0, due - sum(line["minor_high"] for line in eligible))
        if low or high:
            self.lines.append({
                "account": None, "period": {"start": str(self.first), "end": str(self.last)}, "kind": "commit",
                "offering": "", "service": {"start": str(covered[0]), "end": str(covered[-1])}, "tier": 0,
                "quantity": 1, "quantity_high": 1, "rate": commit["amount"], "per": 1, "days": len(covered),
                "of_days": len(month), "account_code": "", "tax_code": "", "version": None,
                "minor_gross": low, "minor_discount": 0, "minor": low, "minor_high": high,
            })  # fmt: skip

    # Shared invoices

    def shares(self, invoice: Json) -> list[Json]:
        nothing = {"count": 0, "cost": "0"}
        parent, removed = invoice.get("parent", nothing), invoice.get("removed", nothing)
        living = [("parent", "", parent.get("count", 0), parent.get("cost", "0"))]
        for kind, key in (("account", "accounts"), ("unknown", "unknown")):
            living += [(kind, e["id"], e.get("count", 0), e.get("cost", "0")) for e in invoice.get(key, [])]
        gone = [("removed_account", e["id"], e.get("count", 0), "0") for e in invoice.get("removed_accounts", [])]
        rest = removed.get("count", 0) - sum(each[2] for each in gone)
        gone.append(("removed", "", max(0, rest), "0"))
        total = rounded(Fraction(invoice["total"]) * 10**self.places)
        everybody = [*living, *gone]
        if sum(each[2] for each in everybody) == 0:
            amounts = [0 for _ in everybody]
        elif invoice["method"] == "volume":
            amounts = self.split(total, everybody)
        else:
            cents = rounded(Fraction(removed.get("cost", "0")) * 10**self.places)
            shared = self.split(cents, gone) if any(each[2] for each in gone) else [0] * (len(gone) - 1) + [cents]
            amounts = [rounded(Fraction(each[3]) * 10**self.places) for each in living] + shared
        found = [(*each[:3], amount) for each, amount in zip(everybody, amounts, strict=True)]
        if total != sum(amounts):
            found.append(("unallocated", "", 0, total - sum(amounts)))
        return [{"kind": k, "id": i, "count": n, "amount": self.money(a)} for k, i, n, a in found]

    def split(self, minor: int, parts: list[Any]) -> list[int]:
        """Hand out one minor unit after the other to the part that is furthest below its exact share."""
        sign, minor = (-1, -minor) if minor < 0 else (1, minor)
        whole = sum(part[2] for part in parts)
        exact = [Fraction(minor * part[2], whole) for part in parts]
        given = [math.floor(share) for share in exact]
        order = sorted(range(len(parts)), key=lambda n: (given[n] - exact[n], -parts[n][2], parts[n][1], n))
        for n in order[: minor - sum(given)]:
            given[n] += 1
        return [sign * each for each in given]


class Period:
    """One billing period of an account, day by day."""

    def __init__(self, rater: Rater, account: Json, period: Json, start: date, end: date) -> None:
        self.rater, self.account, self.period, self.start, self.end = rater, account, period, start, end
        self.days = days_between(start, end)
        self.spans = account.get("offerings", [])
        states = account.get("states", [])
        # A deleted account is what it was before: suspended, banned, or active.
        self.states = [each for each in states if each["state"] != "deleted"]
        created, deleted = account.get("created_on"), account.get("deleted_on")
        if deleted is None and states and states[-1]["state"] == "deleted":
            # The day from which on there is no other state.
            others = [n for n, each in enumerate(states) if each["state"] != "deleted"]
            deleted = states[others[-1] + 1 if others else 0]["from"]
        self.existing = [
            on
            for on in self.days
            if (created is None or day(created) <= on) and (deleted is None or on <= day(deleted))
        ]
        self.is_first = created is not None and start <= day(created) <= end
        self.contract: Json | None = None
        self.list: Json = {}
        self.cache: dict[str, dict[str, Json] | None] = {}

    def found(self, code: str) -> None:
        self.rater.findings.add((code, self.account["id"], self.period["start"]))

    def rate(self) -> None:
        if not self.existing:
            if (self.period.get("used") or 0) > 0 or (self.period.get("high") or 0) > 0:
                self.found("usage_without_account")
            return
        if not self.rater.cost:
            self.contract = self.rater.contract_on(self.start)
            if self.contract is None:
                self.found("no_contract")
                return
        price_list = self.rater.price_list(self.account["provider"], self.contract)
        if price_list is None:
            self.found("no_price_list")
            return
        self.list = price_list
        self.look_at_spans()
        self.rate_offerings()
        if self.rater.cost and not any(self.is_billed({}, on) for on in self.existing):
            if (self.period.get("used") or 0) > 0 or (self.period.get("high") or 0) > 0:
                self.found("usage_while_banned")
            return
        self.overage()

    def rate_offerings(self) -> None:
        offerings = sorted({name for on in self.existing for name, n in self.items(on).items() if n > 0})
        for name in offerings:
            prices = self.prices(name)
            if prices is None:
                self.found("unpriced")
                continue
            if "base" in prices:
                self.held("base", prices["base"], name, prorated=True)
            for kind in ("addon", "dedicated_ip"):
                if kind in prices:
                    self.held(kind, prices[kind], name, prorated=prices[kind].get("prorated", False))
            if "one_time" in prices:
                self.one_time(prices["one_time"], name)
        if not offerings and not self.spans:
            self.found("unpriced")

    def look_at_spans(self) -> None:
        first, last = self.existing[0], self.existing[-1]
        if self.spans and day(self.spans[0]["from"]) > first:
            self.found("offerings_unknown")
        for span in self.spans:
            since = span.get("uncertain_since")
            if since and day(since) < day(span["from"]) and day(since) <= last and day(span["from"]) > first:
                self.found("uncertain_day")

    def prices(self, name: str) -> dict[str, Json] | None:
        if name not in self.cache:
            self.cache[name] = self.rater.prices_of(self.list, self.contract, name, self.start)
        return self.cache[name]

    def items(self, on: date) -> dict[str, int]:
        span = on_day(self.spans, on)
        held = {item["name"]: item.get("quantity", 1) for item in span["items"]} if span else {}
        if self.prices("") is not None:
            held[""] = 1
        return held

    def is_known(self, on: date) -> bool:
        return not self.spans or on_day(self.spans, on) is not None

    def is_billed(self, price: Json, on: date) -> bool:
        span = on_day(self.states, on)
        state = span["state"] if span else "active"
        if self.rater.cost:
            return bool(state != "banned")
        return bool(price.get("bill_when_suspended", True) or state not in SUSPENDED)

    def day_for(self, price: Json, on: date) -> date | None:
        """The day that decides a day: itself, or the nearest one where start or close are billed in full."""
        if on < self.existing[0]:
            return self.existing[0] if price.get("on_start", "full") == "full" else None
        if on > self.existing[-1]:
            return self.existing[-1] if price.get("on_close", "full") == "full" else None
        return on

    def held(self, kind: str, price: Json, name: str, *, prorated: bool) -> None:
        """Base and add-ons."""
        included = price.get("included", 0) if kind != "base" else 0

        def units(on: date | None) -> int:
            if on is None or not self.is_billed(price, on):
                return 0
            return max(0, self.items(on).get(name, 0) - included)

        if not prorated:
            quantity = max(units(on) for on in self.existing)
            self.line(kind, price, days=self.days, quantity=quantity)
            return
        for quantity, days in groupby(self.days, key=lambda on: units(self.day_for(price, on))):
            segment = list(days)
            self.line(kind, price, days=segment, quantity=quantity)

    def one_time(self, price: Json, name: str) -> None:
        included, total = price.get("included", 0), 0

        def above(on: date) -> int:
            return max(0, self.items(on).get(name, 0) - included)

        for on in self.existing:
            before = on - timedelta(days=1)
            is_start = on == self.existing[0] or (name and not self.is_known(before))
            if is_start and not self.is_first:
                if self.spans and name:
                    earlier = [span for span in self.spans if day(span["from"]) < self.start]
                    if on == self.start and earlier and above(on) > above(before):
                        self.found("one_time_on_first_day")
                continue
            rise = above(on) - (0 if is_start else above(before))
            span = on_day(self.states, on)
            banned = self.rater.cost and span is not None and span["state"] == "banned"
            if rise > 0 and not banned:
                total += rise
        self.line("one_time", price, days=self.days, quantity=total)

    def line(
        self, kind: str, price: Json, *, days: list[date], quantity: int, quantity_high: int | None = None,
        tier: int = 0, rate: str = "", rate_high: str = "", per: int = 1,
    ) -> int:  # fmt: skip
        rate = rate or price["amount"]
        high = quantity if quantity_high is None else quantity_high
        percent = self.rater.percent(self.contract, kind, self.start)
        # Overage is not prorated: its line has the days of the stretch and the price of the whole period.
        charged_days = len(self.days) if kind == "overage" else len(days)
        scale = 10**self.rater.places

        def charged(units: int, unit_rate: str) -> tuple[int, int]:
            gross = rounded(Fraction(unit_rate) * units / per * charged_days / len(self.days) * scale)
            return gross, rounded(gross * percent / 100)

        gross, discount = charged(quantity, rate)
        gross_high, discount_high = charged(high, rate_high or rate)
        self.rater.lines.append({
            "account": self.account["id"], "period": {"start": str(self.start), "end": str(self.end)}, "kind": kind,
            "offering": price.get("offering", ""), "tier": tier,
            "service": {"start": str(days[0]), "end": str(days[-1])},
            "quantity": quantity, "quantity_high": high, "rate": rate, "per": per, "days": charged_days,
            "of_days": len(self.days), "account_code": price.get("account_code", ""),
            "tax_code": price.get("tax_code", ""), "version": price["version"], "minor_gross": gross,
            "minor_discount": discount, "minor": gross - discount, "minor_high": gross_high - discount_high,
        })  # fmt: skip
        return gross_high - discount_high - (gross - discount)

    # Overage

    def package(self, on: date) -> tuple[str, int] | None:
        """The offering with an overage price, and how many of it. That of every account is the last resort."""
        held = self.items(on)
        found = [n for n in held if held[n] > 0 and "overage" in (self.prices(n) or {})]
        named = [n for n in found if n]
        if len(named) > 1:
            raise LookupError
        return (named[0], held[named[0]]) if named else ("", 1) if found else None

    def overage(self) -> None:
        known = [on for on in self.existing if self.is_known(on)] or self.existing

        def nearest(on: date) -> date:
            return min(max(on, known[0]), known[-1])

        try:
            packages = {on: self.package(nearest(on)) for on in self.days}
        except LookupError:
            self.found("several_packages")
            return
        self.rate_packages(packages)

    def rate_packages(self, packages: dict[date, tuple[str, int] | None]) -> None:
        used, status = self.period.get("used"), self.period.get("status", "final")
        last = packages[self.end]
        if last and self.period.get("allowed") not in (None, self.included(last)):
            self.found("allowed_differs")
        high = self.period.get("high")
        if not any(packages.values()):
            if (used or 0) > 0 or (high or 0) > 0:
                self.found("overage_unpriced")
            return
        if used is None or status == "missing":
            self.found("missing")
            return
        if status in ("open", "stale"):
            self.found("not_final")
        if status == "disputed":
            self.found("disputed")
        if high is None:
            high = ENDLESS if status == "interval" else used
        self.rate_usage(packages, used, high)

    def rate_usage(self, packages: dict[date, tuple[str, int] | None], used: int, high: int) -> None:
        last = packages[self.end]
        stretches = [(key, list(days)) for key, days in groupby(self.days, key=lambda on: packages[on])]
        mode = (self.prices(last[0]) or {})["overage"].get("when_changed") if last else None
        mode = mode or ("incurred" if self.rater.cost and self.account["provider"] == "sendgrid" else "last")
        if len(stretches) == 1 or mode != "incurred":
            if last is None:
                if high > 0:
                    self.found("overage_unpriced")
                return
            volumes = [self.included(packages[on]) for on in self.days]
            included = {
                "last": volumes[-1],
                "incurred": volumes[-1],
                "highest": max(volumes),
                "prorated": rounded(Fraction(sum(volumes), len(volumes))),
            }[mode]
            self.tiers(last, self.days, max(0, used - included), max(0, high - included))
            return
        self.incurred(stretches, used, high)

    def included(self, package: tuple[str, int] | None) -> int:
        if package is None:
            return 0
        prices = self.prices(package[0]) or {}
        return int(prices["overage"]["included"]) * package[1]

    def incurred(self, stretches: list[Any], used: int, high: int) -> None:
        """Each unit of usage has a number. One that is above the volume, and came in the stretch, is overage of it."""
        changes = {day(each["on"]): each for each in self.period.get("at_changes", [])}
        low_before = high_before = 0
        for n, (package, days) in enumerate(stretches):
            low_end, high_end = used, high
            if n + 1 < len(stretches):
                on = stretches[n + 1][1][0]
                lows = [0, low_before] + [each["used"] for when, each in changes.items() if when <= on]
                highs = [
                    each["used"] if each.get("high") is None else each["high"]
                    for when, each in changes.items()
                    if when >= on
                ]
                low_end = max(lows)
                high_end = min([*highs, ENDLESS_AT_CHANGE + n if high >= ENDLESS else high])
                if on not in changes:
                    self.found("usage_at_change_unknown")
            if package is None:
                if high_end > low_before:
                    self.found("overage_unpriced")
            else:
                volume = self.included(package)
                units = max(0, low_end - max(volume, low_before))
                # An end that nobody knows leaves also the units open that come after another such end.
                units_high = high_end if high_end > FAR else max(0, high_end - max(volume, high_before))
                self.tiers(package, days, units, units_high)
            low_before, high_before = low_end, high_end

    def tiers(self, package: tuple[str, int], days: list[date], units: int, units_high: int) -> None:
        price = (self.prices(package[0]) or {})["overage"]
        mode, per, size = price.get("mode", "graduated"), price.get("per", 1), price.get("block_size")
        bounds = [ENDLESS * 10 if tier.get("up_to") is None else tier["up_to"] for tier in price["tiers"]]
        rates = [tier["rate"] for tier in price["tiers"]]
        moved = 0
        open_ended = False
        if mode == "volume":
            low = next(n for n, bound in enumerate(bounds) if units <= bound)
            high = next(n for n, bound in enumerate(bounds) if units_high <= bound)
            moved = self.line(
                "overage", price, days=days, quantity=units, quantity_high=units_high,
                tier=low, rate=rates[low], rate_high=rates[high], per=per,
            )  # fmt: skip
            open_ended = moved > FAR
        else:
            below = 0
            for n, bound in enumerate(bounds):
                counts = [max(0, min(total, bound) - below) for total in (units, units_high)]
                if mode == "block":
                    counts = [math.ceil(Fraction(count, size)) * size for count in counts]
                difference = self.line(
                    "overage",
                    price,
                    days=days,
                    quantity=counts[0],
                    quantity_high=counts[1],
                    tier=n,
                    rate=rates[n],
                    per=per,
                )
                moved = moved or difference
                open_ended = open_ended or difference > FAR
                below = bound
        self.mark(moved, open_ended=open_ended)

    def mark(self, moved: int, *, open_ended: bool) -> None:
        key = (self.account["id"], self.period["start"])
        if open_ended:
            self.rater.findings.discard(("interval", *key))
            self.found("open_ended")
        elif moved and ("open_ended", *key) not in self.rater.findings:
            self.found("interval")
