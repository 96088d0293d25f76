"""The installed command against a real node: from an empty directory to a signed delivery and back."""

import json
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

Eventually = Callable[..., Any]


def test_event_is_delivered_signed_and_accounted_for(
    posthouse: Any, receiver: Any, eventually: Eventually, node: Any
) -> None:
    """One event's whole way, seen from the command line alone."""
    assert stat.S_IMODE((node.data / "api_key").stat().st_mode) == 0o600
    endpoint = posthouse.json("endpoints", "create", receiver.url, "--event", "order.*")
    published = posthouse.json("publish", "order.created", "-", stdin='{ "total":  12.50 }')
    assert published["deliveries"] == 1
    headers, body = receiver.requests.get(timeout=10)
    assert body.endswith(b'"data":{ "total":  12.50 }}')
    assert headers["webhook-id"] == published["id"]
    Webhook(endpoint["secret"]).verify(body, headers)
    deliveries = eventually(
        lambda: posthouse.json("deliveries", "list", "--status", "delivered")["data"], lambda found: len(found) == 1
    )
    shown = posthouse("deliveries", "show", deliveries[0]["id"])
    assert "success 200" in shown.stdout
    assert "first byte" in shown.stdout
    assert "delivered at" in shown.stdout
    audit = posthouse("audit")
    assert audit.returncode == 0
    assert "The books balance" in audit.stdout
    assert posthouse.json("events", "show", published["id"])["data"] == {"total": 12.5}


def test_failed_delivery_is_retried_on_demand(posthouse: Any, receiver: Any, eventually: Eventually) -> None:
    receiver.status = 503
    posthouse.json("endpoints", "create", receiver.url, "--retry", "custom:1h")
    posthouse.json("publish", "a.b")
    receiver.requests.get(timeout=10)
    found = eventually(
        lambda: posthouse.json("deliveries", "list", "--status", "retrying")["data"], lambda found: len(found) == 1
    )[0]
    shown = posthouse("deliveries", "show", found["id"]).stdout
    assert "status 503" in shown
    assert "Next attempt in" in shown
    assert "because" in shown
    receiver.status = 200
    assert posthouse("retry", found["id"]).returncode == 0
    receiver.requests.get(timeout=10)
    settled = eventually(
        lambda: posthouse.json("deliveries", "show", found["id"]), lambda found: found["status"] == "delivered"
    )
    assert [attempt["response_status"] for attempt in settled["attempts"]] == [503, 200]


def test_paused_endpoint_gets_nothing_until_it_is_resumed(
    posthouse: Any, receiver: Any, eventually: Eventually
) -> None:
    endpoint = posthouse.json("endpoints", "create", receiver.url, "--paused")["id"]
    posthouse.json("publish", "a.b")
    waiting = posthouse.json("deliveries", "list")["data"][0]
    assert posthouse.json("deliveries", "show", waiting["id"])["waits_for"]["code"] == "endpoint_paused"
    assert "No attempt is planned" in posthouse("deliveries", "show", waiting["id"]).stdout
    assert receiver.requests.empty()
    assert posthouse("endpoints", "resume", endpoint).returncode == 0
    receiver.requests.get(timeout=10)
    eventually(lambda: posthouse.json("audit"), lambda books: books["delivered"] == 1)


def test_cancelled_delivery_is_discarded_and_can_be_undone(posthouse: Any, receiver: Any) -> None:
    endpoint = posthouse.json("endpoints", "create", receiver.url, "--paused")["id"]
    posthouse.json("publish", "a.b")
    name = posthouse.json("deliveries", "list", "--endpoint", endpoint)["data"][0]["id"]
    assert posthouse.json("cancel", name)["data"][0]["status"] == "discarded"
    assert posthouse.json("audit")["discarded"] == 1
    assert posthouse.json("retry", name)["data"][0]["status"] == "waiting"
    assert posthouse("endpoints", "delete", endpoint, "--yes").stdout.endswith("1 open delivery discarded.\n")
    assert posthouse.json("audit")["imbalance"] == 0


def test_file_is_published_once_however_often_it_is_run(posthouse: Any, tmp_path: Path) -> None:
    lines = [json.dumps({"type": "a.b", "data": {"n": n}}) for n in range(2_500)]
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(lines[:1_700]))
    assert posthouse.json("publish", "--ndjson", str(file))["published"] == 1_700
    file.write_text("\n".join(lines))
    report = posthouse.json("publish", "--ndjson", str(file))
    assert (report["published"], report["duplicates"]) == (800, 1_700)


def test_bad_line_is_named_by_number(posthouse: Any) -> None:
    lines = '{"type": "a.b", "data": 1}\n{"type": "not a type!", "data": 1}\n'
    done = posthouse("publish", "--ndjson", "-", stdin=lines)
    assert done.returncode == 6
    assert "line 2: " in done.stderr
    assert posthouse.json("events", "list")["data"] == []


def test_keys_open_what_their_scope_allows(posthouse: Any) -> None:
    key = posthouse.json("keys", "create", "shop", "--scope", "publish")
    assert posthouse("publish", "a.b", "--api-key", key["secret"]).returncode == 0
    assert posthouse("audit", "--api-key", key["secret"]).returncode == 4
    assert posthouse("keys", "revoke", key["id"]).returncode == 0
    done = posthouse("publish", "a.b", "--api-key", key["secret"], "--json")
    assert (done.returncode, json.loads(done.stderr)["code"]) == (4, "unauthorized")


def test_private_target_is_refused(posthouse: Any) -> None:
    done = posthouse("endpoints", "create", "http://10.0.0.1/", "--json")
    assert (done.returncode, json.loads(done.stderr)["code"]) == (6, "blocked_address")


def test_doctor_finds_a_healthy_node(posthouse: Any) -> None:
    found = {finding["name"]: finding for finding in posthouse.json("doctor")["findings"]}
    assert found["node ready"]["verdict"] == "ok"
    assert found["books"]["verdict"] == "ok"
    assert found["SQLite"]["verdict"] == "ok"


def test_unknown_things_are_not_found(posthouse: Any) -> None:
    assert posthouse("endpoints", "show", "ep_0000000000000").returncode == 3
    assert posthouse("deliveries", "show", "nonsense").returncode == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_node_stops_gracefully_and_goes_on_where_it_was(
    posthouse: Any, node: Any, receiver: Any, eventually: Eventually, number: signal.Signals
) -> None:
    receiver.status = 503
    posthouse.json("endpoints", "create", receiver.url, "--retry", "custom:1s,1s,1s,1s,1s,1s")
    posthouse.json("publish", "a.b")
    receiver.requests.get(timeout=10)
    assert node.end(number) == 0
    assert not (node.data / "node.json").exists()
    assert posthouse("audit").returncode == 5
    receiver.status = 200
    node.start()
    eventually(lambda: posthouse.json("audit"), lambda books: books["delivered"] == 1)


def test_nothing_is_lost_by_a_kill(posthouse: Any, node: Any, receiver: Any, eventually: Eventually) -> None:
    posthouse.json("endpoints", "create", receiver.url)
    lines = "\n".join(json.dumps({"type": "a.b", "data": n, "id": f"e{n}"}) for n in range(500))
    assert posthouse.json("publish", "--ndjson", "-", stdin=lines)["published"] == 500
    assert node.end(signal.SIGKILL) == -signal.SIGKILL
    node.start()
    books = eventually(lambda: posthouse.json("audit"), lambda books: books["delivered"] == 500)
    assert books["imbalance"] == 0
    received = {receiver.requests.get()[0]["webhook-id"] for _ in range(receiver.requests.qsize())}
    assert received == {f"e{n}" for n in range(500)}
