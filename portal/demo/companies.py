"""Companies of the demo: invented, on .example domains, with their packages, usage and events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

from portal.providers import AccountSettings

GLOBAL, EU, AHA = "SendGrid global", "SendGrid EU", "AhaSend"
PLANS = {
    "free-100": 3_000,
    "essentials-50k": 50_000,
    "essentials-100k": 100_000,
    "pro-100k": 100_000,
    "pro-300k": 300_000,
    "pro-1.5m": 1_500_000,
}
# For accounts without a package: monthly cap (0 = no cap), and the size for usage.
CAPS = {
    "cap-50k": (50_000, 50_000),
    "cap-100k": (100_000, 100_000),
    "cap-500k": (500_000, 500_000),
    "no-cap": (0, 80_000),
}
# Monday first. Shops send at the end of the week, firms on working days, machines every day.
RHYTHMS = {
    "shop": (0.7, 0.8, 0.9, 1.2, 1.6, 1.1, 0.7),
    "firm": (1.3, 1.4, 1.4, 1.3, 1.0, 0.3, 0.3),
    "steady": (1.0,) * 7,
}
# Numbers reserved for fiction, by the start of the time zone.
_PHONES = {
    "America": "+1202555{:04}",
    "Europe/London": "+442079460{:03}",
    "Europe/Berlin": "+493023125{:03}",
    "Europe/Paris": "+33199000{:03}",
    "Europe/Stockholm": "+468465004{:02}",
    "Australia": "+6135550{:04}",
}


@dataclass(frozen=True)
class Company:
    """A demo company. `share`: its usage per billing period as a share of its package. `days`: days since it became a
    customer. `fate`: a scenario of portal/demo/script.py, "" for none."""

    number: int
    name: str
    contact: str
    timezone: str
    plan: str
    share: float
    rhythm: str
    days: int
    tags: tuple[str, ...]
    fate: str
    connection: str

    @property
    def domain(self) -> str:
        plain = self.name.lower().translate(str.maketrans("åäöéüø", "aaoeuo"))
        return "".join(letter for letter in plain if letter.isalnum()) + ".example"

    @property
    def email(self) -> str:
        return f"{('mail', 'ops', 'it', 'postmaster')[self.number % 4]}@{self.domain}"

    @property
    def phone(self) -> str:
        form = next((form for zone, form in _PHONES.items() if self.timezone.startswith(zone)), _PHONES["America"])
        return form.format(100 + self.number if form != _PHONES["Europe/Stockholm"] else self.number)

    @property
    def reference(self) -> str:
        return f"CRM-{4100 + self.number * 7}" if self.number % 5 else ""

    @property
    def per_day(self) -> float:
        size = CAPS[self.plan][1] if self.plan in CAPS else PLANS[self.plan]
        return size * self.share / 30

    @property
    def settings(self) -> AccountSettings | None:
        """Name, website and cap, for accounts with those instead of a package."""
        return AccountSettings(self.name, self.domain, CAPS[self.plan][0]) if self.plan in CAPS else None

    @property
    def sending(self) -> dict[str, object]:
        """Sending parameters for the sandbox."""
        return {
            "per_day": self.per_day,
            "weekday": RHYTHMS[self.rhythm],
            "jitter": 0.25,
            "seed": self.seed,
            "growth_per_month": 0.03,
        }

    @property
    def seed(self) -> int:
        return crc32(self.name.encode())

    @property
    def offering(self) -> str:
        return f"postkeeper.ei.{self.plan}.v1"


_NY, _CHI, _LA, _SYD = "America/New_York", "America/Chicago", "America/Los_Angeles", "Australia/Sydney"
_LON, _BER, _PAR, _STO = "Europe/London", "Europe/Berlin", "Europe/Paris", "Europe/Stockholm"
# name, contact, time zone, plan, share, rhythm, days ago, tags, fate
_GLOBAL = (
    ("Northwind Kitchens", "Maya Reyes", _NY, "pro-100k", 0.71, "shop", 94, "retail", "upgraded"),
    ("Harbor Loan Partners", "Elliot Grant", _NY, "pro-300k", 0.83, "firm", 94, "finance vip", ""),
    ("Brightleaf Tutoring", "Priya Nair", _CHI, "essentials-100k", 0.64, "firm", 93, "education", ""),
    ("Copper Canyon Outfitters", "Wade Sorensen", _LA, "pro-100k", 1.18, "shop", 81, "retail", "over"),
    ("Meridian Dental Group", "Alicia Boone", _NY, "essentials-50k", 0.58, "firm", 93, "health", ""),
    ("Sundial Travel", "Marco Pellini", _LA, "pro-300k", 0.77, "steady", 92, "travel", ""),
    ("Fablewright Press", "Nora Whitlock", _NY, "essentials-100k", 0.35, "shop", 92, "media", ""),
    ("Tallgrass Credit Union", "Dale Hutchins", _CHI, "pro-1.5m", 0.66, "firm", 92, "finance vip", ""),
    ("Pixel Orchard", "June Takahashi", _LA, "pro-1.5m", 0.92, "steady", 84, "software vip", "near"),
    ("Lumen & Loom", "Greta Vance", _NY, "essentials-50k", 0.81, "shop", 91, "retail", ""),
    ("Quarry Street Records", "Otis Bell", _CHI, "essentials-50k", 0.22, "shop", 91, "media", "suspended"),
    ("Evergreen Property Care", "Tom Aldous", _LA, "essentials-50k", 0.49, "firm", 90, "", ""),
    ("Saltmarsh Seafood Club", "Ivy Calloway", _NY, "pro-100k", 0.95, "shop", 79, "retail food", "near"),
    ("Kestrel Analytics", "Ravi Menon", _NY, "pro-300k", 0.52, "steady", 89, "software", ""),
    ("Blue Wren Yoga", "Skye Patterson", _SYD, "free-100", 0.60, "steady", 89, "", ""),
    ("Ironbark Hardware", "Callum Doyle", _SYD, "essentials-100k", 0.73, "shop", 88, "retail", ""),
    ("Paloma Florists", "Lucia Ferrer", _LA, "essentials-50k", 1.42, "shop", 83, "retail", "over"),
    ("Granite Peak Insurance", "Helen Marsh", _CHI, "pro-300k", 0.61, "firm", 85, "finance", "addon"),
    ("Wanderbus", "Diego Salas", _LA, "pro-100k", 0.56, "steady", 82, "travel", "held"),
    ("Cobalt Fitness", "Tessa Lindgren", _NY, "essentials-100k", 0.68, "steady", 78, "", ""),
    ("Maple & Rye Bakery", "Owen Fitch", _NY, "essentials-50k", 0.31, "shop", 75, "food", ""),
    ("Redwood Legal", "Carmen Ortiz", _LA, "essentials-50k", 0.44, "firm", 71, "", "resumed"),
    ("Swiftlet Couriers", "Ben Achterberg", _SYD, "pro-300k", 0.88, "steady", 68, "logistics vip", ""),
    ("Promo Blast Daily", "Rex Malone", _NY, "pro-100k", 2.10, "steady", 63, "watch", "banned"),
    ("Juniper Home Goods", "Anika Shah", _CHI, "pro-100k", 0.79, "shop", 60, "retail", ""),
    ("Clearwater Clinics", "Dr Paul Osei", _NY, "pro-100k", 0.47, "firm", 57, "health", "no_reading"),
    ("Old Mill Theatre", "Fiona Cray", _NY, "essentials-50k", 0.38, "shop", 54, "media", "deleted"),
    ("Basecamp Rentals", "Leo Marchetti", _LA, "essentials-100k", 0.62, "shop", 50, "travel", ""),
    ("Stellar Pets", "Gwen Ashby", _CHI, "pro-100k", 0.86, "shop", 47, "retail", "gap"),
    ("Tideline Surf School", "Kai Morrow", _SYD, "essentials-50k", 0.55, "shop", 43, "travel", ""),
    ("Anvil & Oak", "Hugh Prentice", _NY, "essentials-100k", 0.97, "shop", 39, "retail", "conflict"),
    ("Nimbus HR", "Sofia Grande", _CHI, "pro-300k", 0.70, "firm", 36, "software", ""),
    ("Fernhill Wines", "Margot Lacey", _SYD, "essentials-100k", 0.59, "shop", 33, "food retail", "cancelled"),
    ("Cartwheel Toys", "Bea Donnelly", _NY, "pro-100k", 1.05, "shop", 21, "retail", "burst"),
    ("Atlas Field Service", "Jon Okoye", _CHI, "essentials-50k", 0.66, "firm", 23, "", "attention"),
    ("Pepperbox Kitchens", "Rosa Quint", _LA, "essentials-50k", 0.41, "shop", 19, "food", ""),
    ("Summit Alumni Fund", "Grace Holloway", _NY, "pro-100k", 0.50, "firm", 15, "education", "indeterminate"),
    ("Driftwood Press", "Miles Avery", _NY, "free-100", 0.45, "steady", 12, "media", "test"),
    ("Orchid Lane Spa", "Vera Stone", _LA, "essentials-50k", 0.52, "steady", 8, "", ""),
    ("Beacon Mutual", "Ian Strand", _CHI, "pro-1.5m", 0.55, "firm", 5, "finance vip", ""),
    ("Tin Kettle Coffee", "Maud Everett", _NY, "essentials-50k", 0.40, "shop", 2, "food", "refused"),
    ("Larkspur Events", "Nadia Brandt", _NY, "pro-100k", 0.60, "shop", 1, "", "unknown"),
    ("Gable & Finch", "Arthur Penn", _NY, "essentials-50k", 0.0, "firm", 3, "prospect", "prospect"),
)
_EU = (
    ("Nordvik Möbler", "Astrid Holm", _STO, "pro-300k", 0.74, "shop", 88, "retail vip", ""),
    ("Spree Fahrrad", "Jonas Keller", _BER, "pro-100k", 0.67, "shop", 88, "retail", ""),
    ("Atelier Belcourt", "Claire Fontaine", _PAR, "essentials-50k", 0.54, "shop", 87, "retail", ""),
    ("Pennine Outdoors", "Rachel Thorne", _LON, "pro-100k", 1.22, "shop", 84, "retail", "over"),
    ("Lindauer Versicherung", "Katrin Vogel", _BER, "pro-1.5m", 0.48, "firm", 86, "finance vip", ""),
    ("Rue Verte", "Hugo Marchand", _PAR, "essentials-100k", 0.76, "shop", 84, "food", "suspended"),
    ("Clyde Ferries", "Duncan Muir", _LON, "pro-300k", 0.63, "steady", 80, "travel", "gap"),
    ("Kupferkessel", "Lena Brandner", _BER, "essentials-50k", 0.91, "shop", 74, "food", "near"),
    ("Östersund Bygg", "Erik Sandell", _STO, "essentials-50k", 0.37, "firm", 66, "", ""),
    ("Librairie du Canal", "Inès Moreau", _PAR, "essentials-100k", 0.45, "shop", 59, "media", "no_username"),
    ("Thames Tutors", "Sam Whitfield", _LON, "essentials-100k", 0.72, "firm", 52, "education", ""),
    ("Havelland Energie", "Uwe Richter", _BER, "pro-300k", 0.81, "firm", 45, "", "addon"),
    ("Maison Perrault", "Louise Perrault", _PAR, "pro-100k", 0.58, "shop", 40, "travel", "held"),
    ("Fjordlys Media", "Ingrid Dahl", _STO, "pro-100k", 0.69, "steady", 34, "media", "deleted"),
    ("Cotswold Cider", "Harry Penrose", _LON, "essentials-50k", 0.62, "shop", 26, "food retail", "suspended"),
    ("Blauwal Software", "Mira Schuster", _BER, "pro-300k", 0.57, "steady", 17, "software", ""),
    ("Petit Voyage", "Jean Rousseau", _PAR, "essentials-50k", 0.50, "steady", 9, "travel", "test"),
    ("Silverbirch Care", "Olivia Hart", _LON, "essentials-100k", 0.44, "firm", 4, "health", ""),
)
_AHA = (
    ("Saffron Street Eats", "Leila Haddad", _LON, "cap-50k", 0.62, "shop", 93, "food", ""),
    ("Tidewater Ferries", "Gus Renner", _NY, "no-cap", 0.94, "steady", 93, "travel", ""),
    ("Bramble & Birch", "Edie Marlow", _LON, "cap-100k", 0.81, "shop", 91, "retail", "key_rotated"),
    ("Polaris Payroll", "Nils Aronsson", _STO, "no-cap", 2.30, "firm", 88, "software vip", "key_kept"),
    ("Lantern Books", "Ruth Adeyemi", _LON, "cap-50k", 0.44, "shop", 84, "retail media", ""),
    ("Copperfield Clinics", "Dr Jonah Falk", _BER, "cap-100k", 0.57, "firm", 79, "health", "cap_raised"),
    ("Old Harbour Radio", "Frank Doyle", _STO, "cap-50k", 0.71, "steady", 76, "media", "left"),
    ("Minka Ceramics", "Hana Sato", _LA, "cap-50k", 0.38, "shop", 61, "retail", ""),
    ("Cloudberry Events", "Siri Nyberg", _STO, "cap-50k", 0.66, "shop", 55, "", "suspended"),
    ("Vantage Surveys", "Pia Kellner", _BER, "cap-500k", 0.73, "firm", 47, "software", ""),
    ("Almanac Weekly", "Iris Bergman", _NY, "cap-100k", 1.16, "steady", 36, "media", ""),
    ("Rookery Games", "Tom Ashdown", _LON, "no-cap", 0.85, "steady", 9, "software", ""),
)


def companies() -> Iterator[Company]:
    rows = [(*row, GLOBAL) for row in _GLOBAL] + [(*row, EU) for row in _EU] + [(*row, AHA) for row in _AHA]
    for number, (name, contact, zone, plan, share, rhythm, days, tags, fate, connection) in enumerate(rows, 1):
        yield Company(number, name, contact, zone, plan, share, rhythm, days, tuple(tags.split()), fate, connection)
