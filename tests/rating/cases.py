"""Generated rating cases, one per number: small worlds in which the rules meet each other often."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from random import Random
from typing import Any

Json = dict[str, Any]
CURRENCIES = ("EUR", "EUR", "USD", "JPY", "KWD")
MONTHS = ("2026-11", "2028-02", "2027-02", "2026-12", "2026-10")
PROVIDERS = ("sendgrid", "ahasend")
PACKAGES, ADDONS = ("Free", "Pro", "Max"), ("IP", "Support")
STATES = ("active", "active", "stopped_by_us", "stopped_by_provider", "banned", "pending", "unknown", "indeterminate")
KINDS = ("base", "addon", "dedicated_ip", "overage", "one_time")
# Amounts that meet the half of a minor unit, that need all nine places, that are zero, and that are negative.
AMOUNTS = (
    "0", "10", "89.95", "0.005", "0.015", "0.5", "-0.5", "-12.345", "33.333333333", "100.0005", "7", "0.000000001",
    "1.005", "2.675", "-0.005",
)  # fmt: skip
RATES = ("0", "0.85", "0.75", "1", "0.001", "0.0005", "0.333333333", "2.5", "0.000000001", "10")
PERCENTS = ("10", "0", "100", "33.3", "12.5", "50", "0.000000001")


class Maker:
    """Makes one case."""

    def __init__(self, number: int, seed: str = "1") -> None:
        self.random = Random(f"{seed} {number}")
        self.month = self.pick(MONTHS)
        year, month = map(int, self.month.split("-"))
        self.first = date(year, month, 1)
        self.last = date(year, month, calendar.monthrange(year, month)[1])
        self.cost = self.maybe(0.3)
        self.limit = self.pick([10, 100, 1000, 100_000])

    def pick(self, options: Any) -> Any:
        return self.random.choice(options)

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def day(self, before: int = 40, after: int = 35) -> date:
        """A day around the month, often at its edges."""
        if self.maybe(0.25):
            edge = self.pick([self.first, self.last])
            return edge + timedelta(days=self.random.randint(-1, 1))
        return self.first + timedelta(days=self.random.randint(-before, after))

    def days(self, count: int) -> list[str]:
        return [day.isoformat() for day in sorted(self.day() for _ in range(count))]

    def units(self) -> int:
        if self.maybe(0.4):
            return int(max(0, self.pick([0, 1, 2, 3, 5, 10]) * self.limit // 2 + self.random.randint(-1, 1)))
        return self.random.randint(0, self.limit * 4)

    def made(self) -> Json:
        currency = self.pick(CURRENCIES)
        case: Json = {"side": "cost" if self.cost else "sell", "currency": currency, "month": self.month}
        case["customer"] = "C1"
        case["price_lists"] = [self.price_list(n, provider) for n, provider in enumerate(PROVIDERS)]
        if self.maybe(0.1):
            case["price_lists"].pop()
        if not self.cost:
            case["contracts"] = self.contracts([each["id"] for each in case["price_lists"]])
        case["accounts"] = [self.account(n) for n in range(self.pick([1, 1, 1, 2, 3]))]
        if self.maybe(0.15):
            case["invoice"] = self.invoice({"JPY": 0, "KWD": 3}.get(currency, 2))
        if self.maybe(0.2):
            pair = [currency, self.pick([c for c in ("EUR", "USD", "JPY", "KWD") if c != currency])]
            self.random.shuffle(pair)
            case["exchange_rate"] = {
                "rate": self.pick(["1.0832", "0.9", "163.25", "3", "0.333333333"]), "units_of": pair[0],
                "per_one": pair[1], "source": "ECB", "on": self.last.isoformat(),
            }  # fmt: skip
        return case

    # Prices

    def price_list(self, number: int, provider: str) -> Json:
        starts = sorted({self.day(60, 20) for _ in range(self.pick([1, 1, 2, 3]))})
        if self.maybe(0.7):
            starts[0] = date(2026, 1, 1)
        versions = [
            {"id": f"V{number}{n}", "valid_from": start.isoformat(), "prices": self.prices()}
            for n, start in enumerate(starts)
        ]
        return {"id": f"L{number}", "name": "List", "provider": provider, "versions": versions}

    def prices(self) -> list[Json]:
        found = []
        for name in PACKAGES:
            if self.maybe(0.9):
                found += [self.base(name)] if self.maybe(0.9) else []
                found += [self.overage(name)] if self.maybe(0.85) else []
        for name in ADDONS:
            if self.maybe(0.9):
                found += [self.addon(name, "addon")] if self.maybe(0.6) else []
                found += [self.addon(name, "dedicated_ip")] if self.maybe(0.4) else []
                found += [self.one_time(name)] if self.maybe(0.6) else []
        if self.maybe(0.15):
            found += [self.overage("")] if self.maybe(0.7) else []
            found += [self.base("")] if self.maybe(0.7) else []
            found += [self.one_time("")] if self.maybe(0.3) else []
        return found

    def codes(self) -> Json:
        return {"account_code": "8400", "tax_code": "S19"} if self.maybe(0.3) else {}

    def edges(self) -> Json:
        found: Json = {}
        for key in ("on_start", "on_close"):
            if self.maybe(0.6):
                found[key] = self.pick(["full", "prorated"])
        if self.maybe(0.5):
            found["bill_when_suspended"] = self.maybe(0.4)
        return found

    def base(self, name: str) -> Json:
        amount = self.pick(AMOUNTS)
        return {"offering": name, "component": "base", "amount": amount, **self.edges(), **self.codes()}

    def addon(self, name: str, component: str) -> Json:
        found = {"offering": name, "component": component, "amount": self.pick(AMOUNTS), **self.edges(), **self.codes()}
        if self.maybe(0.6):
            found["included"] = self.pick([0, 1, 1, 2])
        if self.maybe(0.7):
            found["prorated"] = self.maybe(0.7)
        return found

    def one_time(self, name: str) -> Json:
        found = {"offering": name, "component": "one_time", "amount": self.pick(AMOUNTS), **self.codes()}
        if self.maybe(0.5):
            found["included"] = self.pick([0, 1, 2])
        return found

    def overage(self, name: str) -> Json:
        mode = self.pick(["graduated", "graduated", "volume", "block"])
        size = self.pick([1, 3, 10, 1000])
        step = size if mode == "block" else 1
        bounds = sorted(
            {self.random.randint(1, self.limit * 2 // step + 1) * step for _ in range(self.pick([0, 1, 2]))}
        )
        tiers: list[Json] = [{"up_to": bound, "rate": self.pick(RATES)} for bound in [*bounds, None]]
        found: Json = {"offering": name, "component": "overage", "included": self.units() // 2, "tiers": tiers}
        found |= self.codes()
        if mode != "graduated" or self.maybe(0.3):
            found["mode"] = mode
        if mode == "block":
            found["block_size"] = size
        if self.maybe(0.7):
            found["per"] = self.pick([1, 1000, 3])
        if self.maybe(0.7):
            found["when_changed"] = self.pick(["last", "highest", "prorated", "incurred", "incurred", None])
        return found

    def contracts(self, lists: list[str]) -> list[Json]:
        """At most two contracts, one after the other."""
        if self.maybe(0.05):
            return []
        cut = self.day()
        spans = [(date(2026, 1, 1), None)]
        if self.maybe(0.3):
            spans = [(date(2026, 1, 1), cut - timedelta(days=1)), (cut, None)]
        elif self.maybe(0.1):
            spans = [(cut, None)]
        elif self.maybe(0.1):
            spans = [(date(2026, 1, 1), cut)]
        return [self.contract(n, since, until, lists) for n, (since, until) in enumerate(spans)]

    def contract(self, number: int, since: date, until: date | None, lists: list[str]) -> Json:
        found: Json = {"id": f"K{number}", "valid_from": since.isoformat(), "price_lists": list(lists)}
        if until:
            found["valid_until"] = until.isoformat()
        if self.maybe(0.05):
            found["price_lists"].pop()
        if self.maybe(0.5):
            found["discounts"] = self.discounts()
        if self.maybe(0.5):
            found["commit"] = {"amount": self.pick(["0", "500", "50", "1", "20.005"]), "prorated": self.maybe(0.5)}
        if self.maybe(0.4):
            found["overrides"] = self.overrides()
        return found

    def validity(self) -> Json:
        if self.maybe(0.6):
            return {"valid_from": "2026-01-01", "valid_until": None}
        since, until = self.days(2)
        return {"valid_from": since, "valid_until": until if self.maybe(0.7) else None}

    def discounts(self) -> list[Json]:
        kinds = list(KINDS)
        self.random.shuffle(kinds)
        cut = self.random.randint(1, 5)
        groups = [kinds[:cut], kinds[cut:]] if self.maybe(0.4) else [kinds[:cut]]
        return [{**self.validity(), "percent": self.pick(PERCENTS), "kinds": group} for group in groups if group]

    def overrides(self) -> list[Json]:
        found = []
        for name in self.random.sample(PACKAGES, self.pick([1, 2])):
            override: Json = {**self.validity(), "offering": name}
            if self.maybe(0.5):
                override |= {"component": "base", "amount": self.pick(AMOUNTS)}
                override |= {"on_close": "prorated"} if self.maybe(0.3) else {}
            else:
                override |= {"component": "overage", "included": self.units()}
                override |= {"when_changed": self.pick(["last", "incurred"])} if self.maybe(0.5) else {}
            found.append(override)
        if self.maybe(0.3):
            found.append({**self.validity(), "offering": "IP", "component": "one_time", "included": 1})
        return found

    # Accounts

    def account(self, number: int) -> Json:
        found: Json = {"id": f"A{number}", "name": "Shop", "provider": self.pick(["sendgrid"] * 4 + ["ahasend"])}
        if self.maybe(0.08):
            found["test"] = True
        if self.maybe(0.1):
            found["billing_starts_on"] = self.day().isoformat()
        self.lifetime(found)
        if self.maybe(0.08):
            found["owners"] = [{"from": day, "customer": self.pick(["C1", "C2"])} for day in self.days(2)]
        if self.maybe(0.92):
            found["offerings"] = self.offerings(found)
        if self.maybe(0.5):
            changes = self.days(self.pick([1, 2, 3]))
            found["states"] = [{"from": day, "state": self.pick(STATES)} for day in changes]
            if self.maybe(0.15):
                for state in found["states"][-self.pick([1, 1, 2]) :]:
                    state["state"] = "deleted"
        found["periods"] = self.periods(found)
        return found

    def lifetime(self, account: Json) -> None:
        created = self.day() if self.maybe(0.5) else None
        deleted = self.day() if self.maybe(0.25) else None
        if created and deleted and deleted < created:
            created, deleted = deleted, created
        if created:
            account["created_on"] = created.isoformat()
        if deleted:
            account["deleted_on"] = deleted.isoformat()

    def offerings(self, account: Json) -> list[Json]:
        changes = self.days(self.pick([0, 1, 1, 2, 3]))
        begins = account.get("created_on") or "2026-01-01"
        if self.maybe(0.85):
            changes = sorted([begins, *[day for day in changes if day >= begins]])
        found: list[Json] = []
        for day in changes or [begins]:
            span: Json = {"from": day, "items": self.items()}
            if found and self.maybe(0.3):
                span["items"] = [dict(item) for item in found[-1]["items"]]
            if self.maybe(0.1):
                span["uncertain_since"] = (date.fromisoformat(day) - timedelta(days=self.pick([0, 1, 5]))).isoformat()
            found.append(span)
        return found

    def items(self) -> list[Json]:
        found: list[Json] = []
        if self.maybe(0.92):
            found.append({"name": self.pick(PACKAGES)})
            if self.maybe(0.1):
                found[0]["quantity"] = self.pick([0, 1, 2])
        if self.maybe(0.02):
            other = self.pick(PACKAGES)
            found += [{"name": other}] if not found or found[0]["name"] != other else []
        found += [{"name": name, "quantity": self.pick([0, 1, 2, 3, 5])} for name in ADDONS if self.maybe(0.4)]
        if self.maybe(0.04):
            found.append({"name": "Unknown"})
        return found

    def periods(self, account: Json) -> list[Json]:
        if self.maybe(0.6):
            spans = [(self.first, self.last)]
        else:
            end = self.day(0, 27)
            spans = [(end - timedelta(days=self.pick([0, 1, 27, 29, 30])), end)]
            if self.maybe(0.4):
                spans.append((end + timedelta(days=1), end + timedelta(days=self.random.randint(1, 31))))
        return [self.period(start, end, account) for start, end in spans]

    def period(self, start: date, end: date, account: Json) -> Json:
        found: Json = {"start": start.isoformat(), "end": end.isoformat()}
        status = self.pick(
            ["final"] * 5 + ["derived", "interval", "interval", "interval", "open", "stale", "missing", "disputed"]
        )
        if status != "final":
            found["status"] = status
        if status != "missing":
            found["used"] = self.units()
        if status in ("interval", "disputed", "open") and self.maybe(0.7):
            found["high"] = found["used"] + self.pick([0, 1, self.units()])
        if self.maybe(0.1):
            found["allowed"] = self.units()
        changes = [span["from"] for span in account.get("offerings", []) if start.isoformat() < span["from"]]
        changes = sorted({day for day in changes if day <= end.isoformat() and self.maybe(0.6)})
        if self.maybe(0.1):
            changes = sorted(
                {*changes, (start + timedelta(days=self.random.randint(0, (end - start).days))).isoformat()}
            )
        if changes and "used" in found:
            found["at_changes"] = self.at_changes(changes, found["used"])
        return found

    def at_changes(self, changes: list[str], used: int) -> list[Json]:
        counts = sorted(self.random.randint(0, used) for _ in changes)
        found: list[Json] = [{"on": day, "used": count} for day, count in zip(changes, counts, strict=True)]
        for each in found:
            if self.maybe(0.2):
                each["high"] = each["used"] + self.units() // 4
        return found

    # Late figures

    def late_figures(self, case: Json) -> list[Json]:
        """Figures that came after the month was closed: of known periods, of moved ones, and of new ones."""
        found: list[Json] = []
        for _n in range(self.pick([1, 1, 2, 3, 5])):
            account = self.pick(case["accounts"])
            late: Json = {"account": account["id"]}
            known = self.pick(account["periods"])
            start, end = date.fromisoformat(known["start"]), date.fromisoformat(known["end"])
            if self.maybe(0.15):
                late["replaces"] = known["start"]
                end += timedelta(days=self.pick([-3, -1, 1, 4]))
                start = min(end, start + timedelta(days=self.pick([0, 0, -2, 3])))
            elif self.maybe(0.1):
                end = self.day(0, 27)
                start = end - timedelta(days=self.pick([0, 9, 29]))
            late["period"] = self.period(start, end, account)
            if late["period"].get("status") and self.maybe(0.6):
                late["period"] = self.period(start, end, account)
            if self.maybe(0.1):
                late["period"] = dict(known)
            found.append(late)
        return found

    # Invoices

    def invoice(self, places: int) -> Json:
        total = str(self.random.randint(-500, 10_000))
        if places:
            total += "." + str(self.random.randint(0, 10**places - 1)).rjust(places, "0")

        def parts(letter: str) -> list[Json]:
            return [
                {"id": f"{letter}{n}", "count": self.pick([0, 1, 1, 3, self.units()]), "cost": self.pick(AMOUNTS)}
                for n in range(self.pick([0, 1, 2, 4]))
            ]

        return {
            "period": {"start": self.first.isoformat(), "end": self.last.isoformat()},
            "total": total,
            "method": self.pick(["volume", "provider_share"]),
            "parent": {"count": self.pick([0, 0, 1, self.units()]), "cost": self.pick(AMOUNTS)},
            "accounts": parts("a"),
            "unknown": parts("u"),
            "removed_accounts": parts("a"),
            "removed": {"count": self.pick([0, self.units()]), "cost": self.pick(AMOUNTS)},
        }


def case_of(number: int, seed: str = "1") -> Json:
    return Maker(number, seed).made()


def late_case_of(number: int, seed: str = "1") -> Json:
    """Return a closed month of a customer with figures that came later."""
    maker = Maker(number, f"late {seed}")
    maker.cost = False
    case = maker.made()
    case["late_figures"] = maker.late_figures(case)
    return case
