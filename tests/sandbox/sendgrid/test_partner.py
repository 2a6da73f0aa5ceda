"""The partner API, operations 2 to 9, as the provider documents it."""

import re
from typing import Any

import pytest

from tests.support.sandbox import SandboxAdmin, SandboxClient, SandboxProcess

ACCOUNTS = "/v3/partners/accounts"
PRO: dict[str, Any] = {"name": "postkeeper.ei.pro-100k.v1", "type": "package", "quantity": 1}
FREE: dict[str, Any] = {"name": "postkeeper.ei.free-100.v1", "type": "package", "quantity": 1}
IPS: dict[str, Any] = {"name": "postkeeper.x.ip.v2", "type": "addon"}
NOT_FOUND = {"errors": [{"message": "No such endpoint", "field": "", "error_id": "10-40400"}]}
FORBIDDEN_ID = "10-40300"


def ids_of(answer: Any) -> set[str]:
    return {entry["error_id"] for entry in answer.json["errors"]}


def fields_of(answer: Any) -> set[str]:
    return {entry["field"] for entry in answer.json["errors"]}


def test_create_answers_with_the_id_and_nothing_else(client: SandboxClient) -> None:
    answer = client.create()
    assert answer.status == 201
    assert set(answer.json) == {"account_id"}
    assert re.fullmatch(r"sg[0-9a-f]{32}", answer.json["account_id"])


def test_every_answer_says_it_is_the_sandbox(client: SandboxClient) -> None:
    for answer in (client.create(), client.send("GET", "/v3/nowhere"), client.send("GET", "/_login/x?code=y")):
        assert answer.header("X-Sandbox") == "1"


def test_the_same_create_twice_makes_two_accounts(client: SandboxClient, admin: SandboxAdmin) -> None:
    assert client.create().json != client.create().json
    assert [account["email"] for account in admin.accounts()] == ["ops@northwind.test"] * 2
    assert len({account["username"] for account in admin.accounts()}) == 2


def test_every_bad_field_is_named_in_one_answer(client: SandboxClient, admin: SandboxAdmin) -> None:
    profile = {
        "email": "nobody",
        "phone": "0151 2345",
        "company_website": "not a site",
        "timezone": "Mars/Olympus",
        "first_name": 7,
    }
    offerings = [{"name": "postkeeper.ei.gone.v9", "type": "package"}]
    answer = client.send("POST", ACCOUNTS, {"profile": profile, "offerings": offerings})
    assert answer.status == 400
    assert fields_of(answer) == {"email", "phone", "company_website", "timezone", "first_name", "offerings"}
    assert {"10-40002", "10-40008", "10-40010"} <= ids_of(answer)
    assert admin.accounts() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "ops+mail@northwind.co.uk"),
        ("phone", "+358401234567"),
        ("company_website", "www.example.com"),
        ("company_website", "https://northwind.test/shop?a=b"),
        ("timezone", "Europe/Helsinki"),
    ],
)
def test_good_fields_are_taken(client: SandboxClient, field: str, value: str) -> None:
    body = {"profile": {field: value}, "offerings": [PRO]}
    assert client.send("POST", ACCOUNTS, body).status == 201


@pytest.mark.parametrize("phone", ["+1234567890123456", "358401234567", "+0123456"])
def test_a_phone_number_is_e164(client: SandboxClient, phone: str) -> None:
    answer = client.send("POST", ACCOUNTS, {"profile": {"phone": phone}, "offerings": [PRO]})
    assert (answer.status, fields_of(answer)) == (400, {"phone"})


@pytest.mark.parametrize(
    "offerings",
    [
        None,
        [],
        "postkeeper.ei.pro-100k.v1",
        ["postkeeper.ei.pro-100k.v1"],
        [{**IPS, "quantity": 1}],
        [PRO, FREE],
        [{**PRO, "quantity": 2}],
        [PRO, {**IPS, "quantity": 0}],
        [PRO, {**IPS, "quantity": -1}],
        [PRO, {**IPS, "quantity": True}],
        [PRO, {**IPS, "quantity": "2"}],
        [PRO, {**IPS, "type": "package"}],
        [{**PRO, "type": "addon"}],
        [PRO, IPS, IPS],
        [PRO, {"name": "postkeeper.x.unknown.v1", "type": "addon"}],
    ],
)
def test_bad_offerings_are_refused_on_create_and_change(client: SandboxClient, account: str, offerings: Any) -> None:
    body = {} if offerings is None else {"offerings": offerings}
    for answer in (client.send("POST", ACCOUNTS, body), client.send("PUT", f"{ACCOUNTS}/{account}/offerings", body)):
        assert (answer.status, fields_of(answer)) == (400, {"offerings"})
    assert client.send("GET", f"{ACCOUNTS}/{account}/offerings").json == {"offerings": [PRO]}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe"])
def test_a_body_that_is_no_object_is_refused(client: SandboxClient, account: str, body: bytes) -> None:
    for method, path in (
        ("POST", ACCOUNTS),
        ("PUT", f"{ACCOUNTS}/{account}/offerings"),
        ("PUT", f"{ACCOUNTS}/{account}/state"),
    ):
        assert client.send(method, path, body).status == 400


def test_offerings_are_replaced_and_answered_as_stored(client: SandboxClient, account: str) -> None:
    path = f"{ACCOUNTS}/{account}/offerings"
    wanted = [{**PRO}, {**IPS, "quantity": 3}]
    assert client.send("PUT", path, {"offerings": wanted}).json == {"offerings": wanted}
    assert client.send("GET", path).json == {"offerings": wanted}
    assert client.send("PUT", path, {"offerings": [FREE]}).json == {"offerings": [FREE]}
    assert client.send("GET", path).json == {"offerings": [FREE]}


def test_fewer_addresses_take_the_newest_first(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    path = f"{ACCOUNTS}/{account}/offerings"
    client.send("PUT", path, {"offerings": [PRO, {**IPS, "quantity": 3}]})
    many = admin.account(account)["ips"]
    assert len(set(many)) == 4  # the package brings one
    client.send("PUT", path, {"offerings": [PRO, {**IPS, "quantity": 1}]})
    assert admin.account(account)["ips"] == many[:2]


def test_a_free_package_takes_subusers_and_addresses(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    admin.change_account(account, subusers=4)
    client.send("PUT", f"{ACCOUNTS}/{account}/offerings", {"offerings": [FREE]})
    assert (admin.account(account)["subusers"], admin.account(account)["ips"]) == (0, [])


def test_a_removed_offering_may_stay_but_cannot_be_added_again(
    client: SandboxClient, admin: SandboxAdmin, account: str
) -> None:
    path = f"{ACCOUNTS}/{account}/offerings"
    admin.put_offering(PRO["name"], gone=True)
    assert PRO["name"] not in client.send("GET", "/v3/partners/offerings").body.decode()
    kept = [PRO, {**IPS, "quantity": 1}]
    assert client.send("PUT", path, {"offerings": kept}).json == {"offerings": kept}
    assert client.send("PUT", path, {"offerings": [FREE]}).status == 200
    assert client.send("PUT", path, {"offerings": [PRO]}).status == 400


def test_the_catalogue_has_packages_addons_and_entitlements(client: SandboxClient) -> None:
    entries = client.send("GET", "/v3/partners/offerings").json["catalog"]
    kinds = [entry["offering"]["type"] for entry in entries]
    assert (kinds.count("package"), kinds.count("addon")) == (6, 4)
    by_name = {entry["offering"]["name"]: entry["entitlements"] for entry in entries}
    assert by_name["postkeeper.ei.pro-100k.v1"]["email_sends_max_monthly"] == 100_000
    assert by_name["postkeeper.x.ip.v2"] == {"ip_count": 1}


def test_state_is_written_without_a_word_and_read_back(client: SandboxClient, account: str) -> None:
    path = f"{ACCOUNTS}/{account}/state"
    assert client.send("GET", path).json == {"state": "activated"}
    for state in ("deactivated", "deactivated", "activated"):
        answer = client.send("PUT", path, {"state": state})
        assert (answer.status, answer.body, answer.header("Content-Type")) == (204, b"", None)
        assert client.send("GET", path).json == {"state": state}


@pytest.mark.parametrize("state", ["suspended", "banned", "indeterminate", "", None, 1])
def test_only_two_states_may_be_written(client: SandboxClient, account: str, state: object) -> None:
    answer = client.send("PUT", f"{ACCOUNTS}/{account}/state", {"state": state})
    assert (answer.status, fields_of(answer)) == (400, {"state"})


@pytest.mark.parametrize("held", ["suspended", "banned", "indeterminate"])
def test_a_held_account_is_not_written_to_unless_switched(
    client: SandboxClient, admin: SandboxAdmin, account: str, held: str
) -> None:
    path = f"{ACCOUNTS}/{account}"
    admin.set_state(account, held)
    assert client.send("GET", f"{path}/state").json == {"state": held}
    for answer in (
        client.send("PUT", f"{path}/state", {"state": "activated"}),
        client.send("PUT", f"{path}/offerings", {"offerings": [FREE]}),
    ):
        assert (answer.status, ids_of(answer)) == (403, {FORBIDDEN_ID})
    assert client.send("GET", f"{path}/state").json == {"state": held}
    admin.switch("put_on_held", "allowed")
    assert client.send("PUT", f"{path}/state", {"state": "activated"}).status == 204


def test_a_state_nobody_has_heard_of_can_be_served(client: SandboxClient, admin: SandboxAdmin, account: str) -> None:
    admin.set_state(account, "hibernating")
    assert client.send("GET", f"{ACCOUNTS}/{account}/state").json == {"state": "hibernating"}


def test_after_a_delete_every_path_is_404_and_the_list_omits_it(client: SandboxClient, account: str) -> None:
    path = f"{ACCOUNTS}/{account}"
    answer = client.send("DELETE", path)
    assert (answer.status, answer.body, answer.header("Content-Type")) == (204, b"", None)
    for method, tail, body in (
        ("DELETE", "", None),
        ("GET", "/state", None),
        ("PUT", "/state", {"state": "activated"}),
        ("GET", "/offerings", None),
        ("PUT", "/offerings", {"offerings": [PRO]}),
        ("POST", "/sso", None),
    ):
        again = client.send(method, path + tail, body)
        assert (again.status, again.json) == (404, NOT_FOUND), (method, tail)
    assert client.send("GET", ACCOUNTS).json == {"accounts": [], "pages": {}}


def test_a_test_account_has_no_address_and_cannot_be_told_apart(client: SandboxClient, admin: SandboxAdmin) -> None:
    answer = client.create(headers={"T-Test-Account": "true"})
    assert set(answer.json) == {"account_id"}
    seen = admin.account(answer.json["account_id"])
    assert (seen["test"], seen["ips"]) == (True, [])
    client.create()
    first, second = client.send("GET", ACCOUNTS).json["accounts"]
    assert set(first) == set(second) == {"id", "email", "created_at", "updated_at"}


@pytest.mark.parametrize("value", ["false", "1", "TRUE", ""])
def test_any_other_value_of_the_test_header_is_ignored(client: SandboxClient, admin: SandboxAdmin, value: str) -> None:
    client.create(headers={"T-Test-Account": value})
    assert [account["test"] for account in admin.accounts()] == [False]


@pytest.mark.parametrize("header", [None, "Basic abc", "Bearer", "Bearer SG.unknown.key"])
def test_a_refused_key_is_told_in_the_words_of_the_contract(sandbox: SandboxProcess, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    nobody = SandboxClient(sandbox.base_url, None)
    refusal = {"message": "Failed to authenticate user", "field": "", "error_id": "10-40100"}
    for method, path in (
        ("GET", ACCOUNTS),
        ("POST", ACCOUNTS),
        ("DELETE", f"{ACCOUNTS}/x"),
        ("POST", f"{ACCOUNTS}/x/sso"),
    ):
        answer = nobody.send(method, path, headers=headers)
        assert (answer.status, answer.json) == (401, {"errors": [refusal]})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "Permission denied, wrong credentials"),
        ("Basic abc", "Permission denied, wrong credentials"),
        ("Bearer", "Permission denied, wrong credentials"),
        ("Bearer two words", "Permission denied, wrong credentials"),
        ("Bearer SG.unknown.key", "The provided authorization grant is invalid, expired, or revoked"),
    ],
)
def test_the_edge_tells_a_missing_key_from_an_unknown_one(
    sandbox: SandboxProcess, admin: SandboxAdmin, header: str | None, message: str
) -> None:
    admin.switch("partner_401", "edge")
    headers = {} if header is None else {"Authorization": header}
    answer = SandboxClient(sandbox.base_url, None).send("GET", ACCOUNTS, headers=headers)
    assert answer.status == 401
    assert answer.json == {"errors": [{"message": message, "field": None, "help": None}]}


def test_a_revoked_key_is_an_unknown_one(sandbox: SandboxProcess, admin: SandboxAdmin) -> None:
    client = SandboxClient(sandbox.base_url, admin.add_key())
    assert client.send("GET", ACCOUNTS).status == 200
    admin.revoke_key(client.key or "")
    assert client.send("GET", ACCOUNTS).status == 401


def test_a_key_of_no_reseller_is_forbidden(sandbox: SandboxProcess, admin: SandboxAdmin) -> None:
    answer = SandboxClient(sandbox.base_url, admin.add_key(reseller=False)).send("GET", ACCOUNTS)
    assert (answer.status, ids_of(answer)) == (403, {FORBIDDEN_ID})


def test_a_wrong_method_is_named_before_the_key_is_looked_at(sandbox: SandboxProcess) -> None:
    nobody = SandboxClient(sandbox.base_url, None)
    answer = nobody.send("DELETE", ACCOUNTS)
    assert (answer.status, answer.header("Allow")) == (405, "GET, POST")
    assert "GET" in answer.json["errors"][0]["message"]
    head = nobody.send("HEAD", ACCOUNTS)
    assert (head.status, head.body) == (405, b"")
    for method in ("TRACE", "QUERY", "MADE-UP"):
        assert nobody.send(method, ACCOUNTS).json == answer.json


def test_an_unknown_path_is_unknown(client: SandboxClient) -> None:
    for path in ("/v3/partners", "/v3/partners/accounts/", "/v3/partners/accounts/x/y/z", "/", "/eu"):
        answer = client.send("GET", path)
        assert (answer.status, answer.json) == (404, NOT_FOUND), path


def test_accept_is_wanted_only_when_switched(client: SandboxClient, admin: SandboxAdmin) -> None:
    assert client.send("GET", ACCOUNTS).status == 200
    admin.switch("require_accept", True)
    assert client.send("GET", ACCOUNTS).status == 406
    assert client.send("GET", ACCOUNTS, headers={"Accept": "application/json"}).status == 200


def test_every_v3_answer_carries_the_quota(sandbox: SandboxProcess, client: SandboxClient) -> None:
    answers = [
        client.create(),
        client.send("POST", ACCOUNTS, {}),
        client.send("GET", "/v3/nothing"),
        client.send("DELETE", ACCOUNTS),
        SandboxClient(sandbox.base_url, None).send("GET", ACCOUNTS),
    ]
    for answer in answers:
        assert answer.header("X-RateLimit-Limit") == "600"
        assert int(answer.header("X-RateLimit-Remaining") or -1) >= 0
        assert int(answer.header("X-RateLimit-Reset") or 0) > 1_700_000_000


def test_past_the_quota_comes_429_until_the_reset(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:15Z")
    admin.switch("rate_per_minute", 3)
    assert [client.send("GET", ACCOUNTS).header("x-ratelimit-remaining") for _ in range(3)] == ["2", "1", "0"]
    refused = client.send("GET", ACCOUNTS)
    assert refused.status == 429
    assert refused.json == {"errors": [{"field": None, "message": "too many requests"}]}
    assert refused.header("Retry-After") is None
    assert refused.header("X-RateLimit-Reset") == "1793613660"  # 10:01:00 as an epoch
    assert client.create().status == 201  # another operation has a quota of its own
    admin.move_clock(seconds=45)
    assert client.send("GET", ACCOUNTS).status == 200


def test_a_request_over_quota_has_no_effect(client: SandboxClient, admin: SandboxAdmin) -> None:
    admin.set_clock("2026-11-02T10:00:15Z")
    admin.switch("rate_per_minute", 1)
    assert [client.create().status for _ in range(3)] == [201, 429, 429]
    assert len(admin.accounts()) == 1


def test_regions_keep_their_accounts_apart(sandbox: SandboxProcess) -> None:
    client, eu = sandbox.client, sandbox.eu_client
    here, there = client.create().json["account_id"], eu.create().json["account_id"]
    assert [item["id"] for item in client.send("GET", ACCOUNTS).json["accounts"]] == [here]
    assert [item["id"] for item in eu.send("GET", ACCOUNTS).json["accounts"]] == [there]
    assert eu.send("GET", f"{ACCOUNTS}/{here}/state").json == NOT_FOUND
    # A base prefix reaches the other region of the key's own organisation, which behaves the same.
    assert client.send("GET", f"/eu{ACCOUNTS}").json == {"accounts": [], "pages": {}}
    assert client.send("GET", f"/global{ACCOUNTS}").json["accounts"][0]["id"] == here
    europe = SandboxClient(f"{sandbox.base_url}/eu", sandbox.key)
    moved = europe.create().json["account_id"]
    assert europe.send("GET", f"{ACCOUNTS}/{moved}/state").status == 200
    assert client.send("GET", f"{ACCOUNTS}/{moved}/state").status == 404


def test_organisations_do_not_see_each_other(sandbox: SandboxProcess, admin: SandboxAdmin, account: str) -> None:
    other = SandboxClient(sandbox.base_url, admin.add_organisation("other")["key"])
    assert other.send("GET", ACCOUNTS).json["accounts"] == []
    assert other.send("DELETE", f"{ACCOUNTS}/{account}").status == 404
    assert other.create().status == 201


@pytest.mark.parametrize("seen_as", ["404", "indeterminate"])
def test_a_new_account_may_take_its_time(client: SandboxClient, admin: SandboxAdmin, seen_as: str) -> None:
    admin.set_clock("2026-11-02T10:00:00Z")
    admin.switch("create_lag_seconds", 30)
    admin.switch("create_lag_as", seen_as)
    path = f"{ACCOUNTS}/{client.create().json['account_id']}/state"
    early = client.send("GET", path)
    assert early.json == (NOT_FOUND if seen_as == "404" else {"state": "indeterminate"})
    admin.move_clock(seconds=30)
    assert client.send("GET", path).json == {"state": "activated"}
