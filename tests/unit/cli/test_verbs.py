"""Every command against a scripted node: what it asks, what it prints, how it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.exits import Exit

Run = Callable[..., Any]

ENDPOINT = {
    "id": "ep_1",
    "tenant": "default",
    "url": "https://example.com/h",
    "events": ["order.*", "invoice.paid"],
    "active": True,
    "state": "active",
    "state_reason": None,
    "description": "",
    "headers": {"X-A": "1"},
    "retry": "three-weeks",
    "connect_timeout_ms": 5_000,
    "timeout_ms": 60_000,
    "rate": None,
    "in_flight_max": None,
    "order": "none",
    "block_seconds": None,
    "payload": "full",
    "format": "standard-webhooks",
    "batch": None,
    "success": "200-299",
    "sources": [],
    "filter": None,
    "transform": None,
    "disable_after_days": 30,
    "health": {
        "state": "ok",
        "failing_since": None,
        "next_probe_at": None,
        "disables_at": None,
        "rate_now": None,
        "in_flight": 0,
    },
    "secrets": [{"created_at": "2026-11-22T08:00:00Z", "expires_at": "2026-11-23T08:00:00Z"}],
    "created_at": "2026-11-22T08:00:00Z",
    "updated_at": "2026-11-22T08:00:00Z",
}
DELIVERY = {
    "id": "dlv_1",
    "event": "evt_1",
    "event_type": "a.b",
    "endpoint": "ep_1",
    "tenant": "default",
    "status": "retrying",
    "lane": "retry",
    "round": 1,
    "attempt_count": 1,
    "opened_at": "2026-11-22T08:00:00Z",
    "next_attempt_at": "2000-01-01T00:00:00Z",
    "settled_at": None,
    "reason": None,
    "last_outcome": "read_timeout",
    "last_response_status": None,
    "waits_for": {"code": "queued", "message": "It is due.", "until": None},
    "attempts": [],
}
EVENT = {
    "id": "evt_1",
    "type": "a.b",
    "tenant": "default",
    "accepted_at": "2026-11-22T08:00:00Z",
    "occurred_at": None,
    "ordering_key": None,
    "origin": None,
    "deliveries": 2,
    "delivery_counts": {"waiting": 0, "retrying": 1, "delivered": 1, "exhausted": 0, "discarded": 0},
    "data": {"a": [1]},
}
BALANCE = {
    "owed": 3,
    "delivered": 2,
    "waiting": 0,
    "retrying": 1,
    "exhausted": 0,
    "discarded": 0,
    "discarded_by_reason": {},
    "imbalance": 0,
}
BOOKS = {**BALANCE, "tenants": [], "sources": [], "endpoints": [{**BALANCE, "tenant": "default", "endpoint": "ep_1"}]}
TENANT = {
    "id": "acme",
    "name": "Acme",
    "weight": 10,
    "rate": "5/s",
    "in_flight_max": None,
    "fresh_seconds": None,
    "created_at": "2026-11-22T08:00:00Z",
}
KEY = {
    "id": "key_1",
    "prefix": "ph_live_abcd",
    "environment": "live",
    "scope": "publish",
    "name": "shop",
    "created_at": "2026-11-22T08:00:00Z",
}


def page(*items: Any, next_cursor: str | None = None) -> dict[str, Any]:
    return {"data": list(items), "next_cursor": next_cursor}


# -- lists ----------------------------------------------------------------------------------


def test_lists_are_plain_aligned_text_in_a_pipe(api: Any, run: Run) -> None:
    api.on("GET /v1/endpoints", page(ENDPOINT, {**ENDPOINT, "id": "ep_22", "state": "paused"}))
    assert run("endpoints", "list", "--tenant", "default").out.splitlines() == [
        "ID     STATE   TENANT   EVENTS                 URL",
        "ep_1   active  default  order.*, invoice.paid  https://example.com/h",
        "ep_22  paused  default  order.*, invoice.paid  https://example.com/h",
    ]
    assert api.query() == {"tenant": "default", "limit": "50"}


def test_lists_go_on_until_the_limit(api: Any, run: Run) -> None:
    """A page of the API has 500 items at most; a command lists as many as it was asked for, and says where it ended."""
    api.on("GET /v1/events", page(*[EVENT] * 500, next_cursor="c1"), page(*[EVENT] * 200, next_cursor="c2"))
    ended = run("events", "list", "--limit", "700", "--json")
    assert len(ended.document["data"]) == 700
    assert ended.document["next_cursor"] == "c2"
    assert [api.query(n)["limit"] for n in (0, 1)] == ["500", "200"]
    assert api.query(1)["cursor"] == "c1"


def test_events_of_a_source_are_listed(api: Any, run: Run) -> None:
    api.on("GET /v1/events", page(EVENT))
    assert run("events", "list", "--source", "src_1", "--type", "a").code == Exit.OK
    assert api.query() == {"type": "a", "source": "src_1", "limit": "50"}


def test_lists_end_where_the_node_ends(api: Any, run: Run) -> None:
    api.on("GET /v1/events", page(EVENT))
    ended = run("events", "list")
    assert (len(api.requests), ended.err) == (1, "")


def test_more_is_hinted_at(api: Any, run: Run) -> None:
    api.on("GET /v1/events", page(EVENT, next_cursor="c1"))
    assert "--cursor c1" in run("events", "list", "--limit", "1").err


def test_nothing_found_is_said_beside_the_result(api: Any, run: Run) -> None:
    api.on("GET /v1/tenants", page())
    ended = run("tenants", "list")
    assert (ended.code, ended.out, ended.err) == (Exit.OK, "", "Nothing found.\n")


def test_deliveries_are_filtered_by_the_node(api: Any, run: Run) -> None:
    api.on("GET /v1/deliveries", page(DELIVERY, {**DELIVERY, "last_outcome": None, "next_attempt_at": None}))
    time = "2026-11-22T08:00:00Z"
    options = ("--status", "retrying", "--endpoint", "ep_1", "--event", "evt_1", "--tenant", "t", "--since", time)
    ended = run("deliveries", "list", *options, "--until", time)
    assert api.query() == {
        "status": "retrying",
        "endpoint": "ep_1",
        "event": "evt_1",
        "tenant": "t",
        "since": time,
        "until": time,
        "limit": "50",
    }
    assert "read timeout" in ended.out
    assert "never attempted" in ended.out


# -- one thing ------------------------------------------------------------------------------


def test_event_is_shown_with_its_data(api: Any, run: Run) -> None:
    api.on("GET /v1/events/a%2Fb", EVENT)
    ended = run("events", "show", "a/b")
    assert "retrying 1, delivered 1" in ended.out
    assert '"a": [' in ended.out
    assert run("events", "show", "a/b", "--json").document == EVENT


def test_delivery_is_shown_with_its_outlook(api: Any, run: Run) -> None:
    api.on("GET /v1/deliveries/dlv_1", DELIVERY)
    assert "because: It is due." in run("deliveries", "show", "dlv_1").out
    assert run("deliveries", "show", "dlv_1", "--json").document == DELIVERY


def test_endpoint_is_created_with_what_was_given(api: Any, run: Run) -> None:
    api.on("POST /v1/endpoints", {**ENDPOINT, "secret": "whsec_x"}, status=201)
    options = ("--event", "a.*", "--event", "b", "--header", "X-A: 1:2", "--retry", "none", "--timeout-ms", "9")
    ended = run("endpoints", "create", "https://example.com/h", *options, "--paused")
    assert api.body() == {
        "url": "https://example.com/h",
        "events": ["a.*", "b"],
        "active": False,
        "headers": {"X-A": "1:2"},
        "retry": "none",
        "timeout_ms": 9,
    }
    assert "secret  whsec_x" in ended.out
    assert "not shown again" in ended.err


def test_endpoint_wants_everything_by_default(api: Any, run: Run) -> None:
    api.on("POST /v1/endpoints", {**ENDPOINT, "secret": "whsec_x"}, status=201)
    assert run("endpoints", "create", "https://e.x/", "--json").document["secret"] == "whsec_x"
    assert api.body() == {"url": "https://e.x/", "events": ["*"], "active": True}


def test_update_sends_only_what_changes(api: Any, run: Run) -> None:
    api.on("PATCH /v1/endpoints/ep_1", ENDPOINT)
    assert run("endpoints", "update", "ep_1", "--event", "a", "--no-headers").code == Exit.OK
    assert api.body() == {"events": ["a"], "headers": {}}


def test_update_of_nothing_is_wrong_usage(api: Any, run: Run) -> None:
    assert run("endpoints", "update", "ep_1").code == Exit.USAGE
    assert api.requests == []


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_pause_and_resume(api: Any, run: Run, verb: str) -> None:
    api.on(f"POST /v1/endpoints/ep_1/{verb}", {**ENDPOINT, "state": "disabled", "state_reason": "gone"})
    assert "disabled (gone)" in run("endpoints", verb, "ep_1").out


def test_rotated_secret_is_shown(api: Any, run: Run) -> None:
    api.on("POST /v1/endpoints/ep_1/rotate-secret", {**ENDPOINT, "secret": "whsec_new"})
    ended = run("endpoints", "rotate-secret", "ep_1", "--overlap-ms", "5")
    assert ended.out == "secret  whsec_new\n"
    assert "until 2026-11-23 08:00:00Z" in ended.err
    assert api.body() == {"overlap_ms": 5}


def test_test_event_says_where_to_look(api: Any, run: Run) -> None:
    made = {"id": "evt_9", "deliveries": 1, "duplicate": False, "delivery": "dlv_9"}
    api.on("POST /v1/endpoints/ep_1/test", made, status=202)
    assert "posthouse deliveries show dlv_9" in run("endpoints", "test", "ep_1").out


def test_delete_asks_and_without_anybody_to_ask_refuses(api: Any, run: Run) -> None:
    """Open deliveries are discarded by a deletion, so it never happens by a slip of a script."""
    api.on("DELETE /v1/endpoints/ep_1", {"id": "ep_1", "discarded": 2})
    assert run("endpoints", "delete", "ep_1").code == Exit.USAGE
    assert api.requests == []
    assert run("endpoints", "delete", "ep_1", "--yes").out == "ep_1 is deleted; 2 open deliveries discarded.\n"


@pytest.mark.parametrize("header", ["X-A", ""])
def test_header_without_a_colon(run: Run, header: str) -> None:
    assert run("endpoints", "create", "https://e.x/", "--header", header).code == Exit.USAGE


def test_key_is_created_and_shown_once(api: Any, run: Run) -> None:
    api.on("POST /v1/keys", {**KEY, "secret": "ph_live_abcd1234"}, status=201)
    ended = run("keys", "create", "shop", "--scope", "read", "--environment", "test")
    assert api.body() == {"name": "shop", "scope": "read", "environment": "test"}
    assert "ph_live_abcd1234" in ended.out


def test_key_publishes_only_unless_told_otherwise(api: Any, run: Run) -> None:
    """The narrowest scope is the default: most keys belong to publishers."""
    api.on("POST /v1/keys", {**KEY, "secret": None}, status=201)
    run("keys", "create", "shop")
    assert api.body() == {"name": "shop", "scope": "publish"}


def test_keys_are_listed_and_revoked(api: Any, run: Run) -> None:
    api.on("GET /v1/keys", page(KEY))
    assert "ph_live_abcd" in run("keys", "list").out
    api.on("DELETE /v1/keys/key_1", KEY)
    assert run("keys", "revoke", "key_1").out == "key_1 is revoked.\n"
    assert run("keys", "revoke", "key_1", "--json").document == KEY


def test_tenant_is_created(api: Any, run: Run) -> None:
    api.on("POST /v1/tenants", TENANT, status=201)
    assert run("tenants", "create", "acme", "--name", "Acme", "--weight", "10").out == "acme (Acme) is there.\n"
    assert json.loads(api.requests[-1].content) == {"id": "acme", "name": "Acme", "weight": 10}


def test_tenant_is_shown_and_listed(api: Any, run: Run) -> None:
    api.on("GET /v1/tenants/acme", TENANT)
    assert run("tenants", "show", "acme").out.splitlines() == [
        "tenant   acme",
        "name     Acme",
        "weight   10",
        "rate     5/s",
        "created  2026-11-22 08:00:00Z",
    ]
    api.on("GET /v1/tenants", page(TENANT))
    assert run("tenants", "list").out.splitlines()[1].split() == [
        "acme",
        "Acme",
        "10",
        "5/s",
        "2026-11-22",
        "08:00:00Z",
    ]


def test_tenant_is_changed(api: Any, run: Run) -> None:
    api.on("PATCH /v1/tenants/acme", TENANT)
    ended = run(
        "tenants", "update", "acme", "--rate", "5/s", "--in-flight-max", "3", "--unset", "fresh-seconds", "--json"
    )
    assert ended.document == TENANT
    assert json.loads(api.requests[-1].content) == {"rate": "5/s", "in_flight_max": 3, "fresh_seconds": None}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "Say what to change."),
        (("--unset", "name"), "'name' cannot be unset."),
        (("--rate", "5/s", "--unset", "rate"), "rate cannot be set and unset at once."),
    ],
)
def test_a_change_of_a_tenant_that_makes_no_sense_is_wrong_usage(
    api: Any, run: Run, options: tuple[str, ...], said: str
) -> None:
    ended = run("tenants", "update", "acme", *options)
    assert (ended.code, api.requests) == (2, [])
    assert said in ended.err


def test_what_an_open_delivery_waits_for_is_in_the_list(api: Any, run: Run) -> None:
    held = {**DELIVERY, "waits_for": {"code": "tenant_rate", "message": "A sentence.", "until": None}}
    api.on("GET /v1/deliveries", page(held, {**DELIVERY, "id": "dlv_2", "waits_for": None}))
    lines = run("deliveries", "list").out.splitlines()
    assert [line.split("  ")[-1].strip() for line in lines] == ["WAITS FOR", "tenant rate", "ep_1"]


# -- filters --------------------------------------------------------------------------------

TRIED = {
    "matched": 1,
    "not_matched": 2,
    "errors": 1,
    "scanned": 9,
    "data": [
        {
            "id": "evt_2",
            "type": "a.b",
            "tenant": "acme",
            "accepted_at": "2026-11-22T08:00:00Z",
            "outcome": "matched",
            "reason": None,
            "data": '{"n":1}',
            "data_is_cut": True,
        },
        {
            "id": "evt_1",
            "type": "a.b",
            "tenant": "acme",
            "accepted_at": "2026-11-22T08:00:00Z",
            "outcome": "error",
            "reason": "There is no field 'n'.",
            "data": None,
            "data_is_cut": False,
        },
    ],
}


def test_a_filter_is_tried(api: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"n": "data.n"}')
    api.on("POST /v1/filters/test", TRIED)
    options = ("--last", "5", "--transform", str(tmp_path / "t.json"), "--type", "a.*", "--tenant", "acme")
    ended = run("filters", "test", "data.n > 1", *options)
    assert json.loads(api.requests[-1].content) == {
        "filter": "data.n > 1",
        "transform": {"n": "data.n"},
        "types": ["a.*"],
        "tenant": "acme",
        "limit": 5,
    }
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "ID     TYPE  TENANT  ACCEPTED              OUTCOME  DATA OR REASON",
        'evt_2  a.b   acme    2026-11-22 08:00:00Z  matched  {"n":1}…',
        "evt_1  a.b   acme    2026-11-22 08:00:00Z  error    There is no field 'n'.",
        "",
        "1 event matched, 2 did not, 1 error.",
    ]
    assert "exhausted with that reason" in ended.err
    assert run("filters", "test", "--endpoint", "ep_1", "--json").document == TRIED
    assert json.loads(api.requests[-1].content) == {"endpoint_id": "ep_1", "types": [], "limit": 100}


def test_a_transformation_that_is_no_json_is_wrong_usage(api: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{")
    ended = run("filters", "test", "--transform", str(tmp_path / "t.json"))
    assert (ended.code, api.requests) == (2, [])
    assert "not valid JSON" in ended.err


# -- doing something to several -------------------------------------------------------------


@pytest.mark.parametrize("verb", ["retry", "cancel"])
def test_one_that_is_refused_does_not_keep_the_others_back(api: Any, run: Run, verb: str) -> None:
    for name in ("dlv_1", "dlv_3"):
        api.on(f"POST /v1/deliveries/{name}/{verb}", {**DELIVERY, "id": name})
    ended = run(verb, "dlv_1", "dlv_2", "dlv_3")
    assert ended.code == Exit.NOT_FOUND
    assert ended.out.splitlines() == ["dlv_1 is retrying.", "dlv_3 is retrying."]
    assert ended.err == "dlv_2: There is no such thing.\n"
    results = run(verb, "dlv_1", "dlv_2", "--json").document["data"]
    assert [result["id"] for result in results] == ["dlv_1", "dlv_2"]
    assert results[1]["problem"]["code"] == "not_found"


def test_single_refusal_is_the_problem_itself(api: Any, run: Run) -> None:
    ended = run("retry", "dlv_2", "--json")
    assert (ended.code, ended.out, ended.problem["code"]) == (Exit.NOT_FOUND, "", "not_found")


def test_wrong_key_ends_at_once(api: Any, run: Run) -> None:
    api.refuse("POST /v1/deliveries/dlv_1/retry", 401, "unauthorized", "The API key is not valid.")
    assert run("retry", "dlv_1", "dlv_2").code == Exit.UNAUTHORIZED
    assert len(api.requests) == 1


# -- the books ------------------------------------------------------------------------------


def test_books_that_balance(api: Any, run: Run) -> None:
    api.on("GET /v1/audit", BOOKS)
    ended = run("audit", "--tenant", "default")
    assert ended.code == Exit.OK
    assert ended.out.splitlines()[0].split() == [
        "TENANT",
        "ENDPOINT",
        "OWED",
        "DELIVERED",
        "WAITING",
        "RETRYING",
        "EXHAUSTED",
        "DISCARDED",
        "IMBALANCE",
    ]
    assert "The books balance" in ended.out
    assert api.query() == {"tenant": "default"}


def test_imbalance_ends_with_one(api: Any, run: Run) -> None:
    """A difference is an alarm, also for a script that reads nothing but the exit code."""
    api.on("GET /v1/audit", {**BOOKS, "imbalance": 2})
    ended = run("audit")
    assert ended.code == Exit.FAILED
    assert "2 deliveries off" in ended.out
    assert run("audit", "--json").code == Exit.FAILED
