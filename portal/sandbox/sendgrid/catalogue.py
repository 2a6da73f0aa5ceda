"""Demo catalog of every new organization.

`display_name` is v2's name of the package. One of them is not ASCII: v2 XML is ISO-8859-1, and a client that decodes it
wrongly should fail here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    name: str
    type: str
    display_name: str
    entitlements: dict[str, int]
    free: bool = False


def _package(plan: str, display_name: str, sends: int, *, ips: int, teammates: int, users: int) -> Entry:
    return Entry(
        name=f"postkeeper.ei.{plan}.v1",
        type="package",
        display_name=display_name,
        entitlements={
            "email_sends_max_monthly": sends,
            "ip_count": ips,
            "teammates_max_total": teammates,
            "users_max_total": users,
        },
        free=plan.startswith("free"),
    )


DEMO = (
    _package("free-100", "Free Package", 3_000, ips=0, teammates=1, users=0),
    _package("essentials-50k", "Essentials 50K", 50_000, ips=0, teammates=1, users=0),
    _package("essentials-100k", "Essentials 100K", 100_000, ips=0, teammates=1, users=0),
    _package("pro-100k", "Försändelse Pro 100K", 100_000, ips=1, teammates=1_000, users=15),
    _package("pro-300k", "Pro 300K", 300_000, ips=1, teammates=1_000, users=15),
    _package("pro-1.5m", "Pro 1.5M", 1_500_000, ips=2, teammates=1_000, users=15),
    Entry("postkeeper.x.ip.v2", "addon", "Dedicated IP", {"ip_count": 1}),
    Entry("postkeeper.x.contacts-10k.v1", "addon", "Marketing 10K contacts", {}),
    Entry("postkeeper.x.contacts-50k.v1", "addon", "Marketing 50K contacts", {}),
    Entry("postkeeper.x.teammates-10.v1", "addon", "Ten more teammates", {"teammates_max_total": 10}),
)
