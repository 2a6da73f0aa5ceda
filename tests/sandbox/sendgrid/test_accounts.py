"""Operation 1: paging by the last id, and every way in which its end can be unclear."""

import pytest

from tests.support.sandbox import SandboxAdmin, SandboxClient

ACCOUNTS = "/v3/partners/accounts"


def fill(admin: SandboxAdmin, count: int) -> list[str]:
    made = admin.add_accounts([{"email": f"user{number}@northwind.test"} for number in range(count)])
    return [account["id"] for account in made]


def walk(client: SandboxClient, limit: int) -> tuple[list[str], int]:
    """Follow `pages.last` to the empty page; how many pages that took."""
    seen: list[str] = []
    offset, pages = "", 0
    while True:
        page = client.send("GET", f"{ACCOUNTS}?limit={limit}&offset={offset}").json
        pages += 1
        if not page["accounts"]:
            assert page == {"accounts": [], "pages": {}}
            return seen, pages
        seen += [item["id"] for item in page["accounts"]]
        assert page["pages"] == {"last": seen[-1]}
        offset = page["pages"]["last"]


def test_ten_come_when_nothing_is_said(client: SandboxClient, admin: SandboxAdmin) -> None:
    made = fill(admin, 12)
    page = client.send("GET", ACCOUNTS).json
    assert [item["id"] for item in page["accounts"]] == made[:10]
    assert page["pages"] == {"last": made[9]}


@pytest.mark.parametrize(("count", "limit", "pages"), [(0, 5, 1), (7, 5, 3), (10, 5, 3), (250, 100, 4)])
def test_a_walk_sees_every_account_once(
    client: SandboxClient, admin: SandboxAdmin, count: int, limit: int, pages: int
) -> None:
    """An exactly full last page (10 by 5) looks like any other: only the next one is empty."""
    made = fill(admin, count)
    assert walk(client, limit) == (made, pages)


@pytest.mark.parametrize("limit", ["0", "-1", "101", "1.5", "ten", "", "999999999999"])
def test_a_bad_limit_is_refused(client: SandboxClient, limit: str) -> None:
    answer = client.send("GET", f"{ACCOUNTS}?limit={limit}")
    assert (answer.status, answer.json["errors"][0]["field"]) == (400, "limit")


def test_an_offset_that_is_no_account_of_ours_is_refused(
    client: SandboxClient, admin: SandboxAdmin, account: str
) -> None:
    foreign = admin.add_account(organisation="reseller-eu")["id"]
    client.send("DELETE", f"{ACCOUNTS}/{account}")
    for offset in (account, foreign, "sg0", "10"):
        answer = client.send("GET", f"{ACCOUNTS}?offset={offset}")
        assert (answer.status, answer.json["errors"][0]["field"]) == (400, "offset"), offset


def test_times_are_whole_seconds_with_z_and_updates_show(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    made = client.create().json["account_id"]
    admin.move_clock(seconds=61.7)
    client.send("PUT", f"{ACCOUNTS}/{made}/state", {"state": "deactivated"})
    assert client.send("GET", ACCOUNTS).json["accounts"] == [
        {
            "id": made,
            "created_at": "2026-11-02T10:00:00Z",
            "email": "ops@northwind.test",
            "updated_at": "2026-11-02T10:01:01Z",
        }
    ]


def test_optional_fields_may_be_missing(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    client.create(email=None)
    assert "email" not in client.send("GET", ACCOUNTS).json["accounts"][1]
    admin.switch("list_bare", True)
    assert all(set(item) == {"id", "created_at"} for item in client.send("GET", ACCOUNTS).json["accounts"])


def test_the_list_may_lag_behind(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.switch("list_lag_seconds", 60)
    made = client.create().json["account_id"]
    assert client.send("GET", ACCOUNTS).json["accounts"] == []
    assert client.send("GET", f"{ACCOUNTS}/{made}/state").status == 200
    admin.move_clock(seconds=60)
    assert len(client.send("GET", ACCOUNTS).json["accounts"]) == 1


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_other_orders_still_page_completely(client: SandboxClient, admin: SandboxAdmin, order: str) -> None:
    made = fill(admin, 23)
    admin.switch("list_order", order)
    seen, _ = walk(client, 5)
    assert sorted(seen) == sorted(made)
    assert seen != made


def test_cursors_that_would_catch_a_careless_walk(client: SandboxClient, admin: SandboxAdmin) -> None:
    made = fill(admin, 6)

    def page(offset: str) -> tuple[list[str], str | None]:
        body = client.send("GET", f"{ACCOUNTS}?limit=2&offset={offset}").json
        return [item["id"] for item in body["accounts"]], body["pages"].get("last")

    admin.switch("list_cursor", "missing")
    assert page(made[1]) == (made[2:4], None)
    admin.switch("list_cursor", "stuck")
    assert page("") == (made[:2], made[1])
    assert page(made[1]) == (made[2:4], made[1])
    admin.switch("list_cursor", "loop")
    assert page(made[1]) == page(made[3]) == (made[:2], made[1])
    admin.switch("list_cursor", "repeat")
    assert page(made[1]) == (made[1:3], made[2])
    assert page(made[5]) == ([made[5]], made[5])


def test_a_page_may_be_shorter_than_asked_for(client: SandboxClient, admin: SandboxAdmin) -> None:
    made = fill(admin, 12)
    admin.switch("list_page_cap", 5)
    first = client.send("GET", f"{ACCOUNTS}?limit=100").json
    assert [item["id"] for item in first["accounts"]] == made[:5]
    assert first["pages"] == {"last": made[4]}
    assert len(client.send("GET", f"{ACCOUNTS}?limit=3").json["accounts"]) == 3


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("given", "Info@xn--mller-idn-q9a.example"),
        ("unicode", "Info@müller-idn.example"),
        ("ascii", "Info@xn--mller-idn-q9a.example"),
        ("upper", "INFO@XN--MLLER-IDN-Q9A.EXAMPLE"),
    ],
)
def test_an_address_may_be_written_another_way(
    client: SandboxClient, admin: SandboxAdmin, form: str, shown: str
) -> None:
    made = admin.add_account(email="Info@xn--mller-idn-q9a.example")["id"]
    admin.switch("email_form", form)
    assert client.send("GET", ACCOUNTS).json["accounts"][0]["email"] == shown
    assert client.behalf("/v3/user/email", made).json == {"email": shown}


def test_the_provider_has_a_clock_of_its_own(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.switch("clock_skew_seconds", -90)
    client.create()
    answer = client.send("GET", ACCOUNTS)
    assert answer.header("Date") == "Mon, 02 Nov 2026 09:58:30 GMT"
    assert answer.json["accounts"][0]["created_at"] == "2026-11-02T09:58:30Z"
