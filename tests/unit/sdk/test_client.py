"""The client: what it sends, what it makes of answers, and when it repeats."""

import json

import httpx2
import msgspec
import pytest

from posthouse.sdk.client import PAUSE_SECONDS_MAX, Client, NewEvent, Problem, Published, Unreachable, segment

PUBLISHED = {"id": "evt_1", "deliveries": 2, "duplicate": False}


def client(*answers: httpx2.Response | Exception, tries: int = 4) -> tuple[Client, list[httpx2.Request], list[float]]:
    """A client of a node that answers so, with the requests it sent and the pauses it made."""
    requests: list[httpx2.Request] = []
    pauses: list[float] = []
    rest = list(answers)

    def handle(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        answer = rest.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    made = Client("http://node:1/", "secret", tries=tries, transport=httpx2.MockTransport(handle), sleep=pauses.append)
    return made, requests, pauses


def ok(body: object = PUBLISHED, status: int = 202) -> httpx2.Response:
    return httpx2.Response(status, json=body)


def refusal(status: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, json={"code": "overloaded", "title": "Too much.", "hint": "Wait."}, headers=headers)


def test_data_is_sent_byte_for_byte() -> None:
    """What the publisher wrote is what is signed in the end, blanks and order included."""
    raw = b'{ "b": 1.0,  "a": "\xc3\xa4" }'
    made, requests, _ = client(ok())
    assert made.publish(NewEvent(type="a.b", data=msgspec.Raw(raw))) == Published("evt_1", 2, duplicate=False)
    assert requests[0].content == b'{"type":"a.b","data":' + raw + b"}"
    assert requests[0].headers["authorization"] == "Bearer secret"
    assert str(requests[0].url) == "http://node:1/v1/events"


def test_every_post_can_be_repeated() -> None:
    """All tries of one call carry one Idempotency-Key; another call carries another."""
    made, requests, _ = client(httpx2.ConnectError("gone"), refusal(503), ok(), ok())
    made.publish(NewEvent(type="a", data=1))
    made.publish(NewEvent(type="a", data=1))
    keys = [request.headers["idempotency-key"] for request in requests]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_own_idempotency_key() -> None:
    made, requests, _ = client(ok({"events": [PUBLISHED]}))
    assert made.publish_batch([NewEvent(type="a", data=1, id="x")], idempotency_key="mine")[0].id == "evt_1"
    assert requests[0].headers["idempotency-key"] == "mine"
    assert json.loads(requests[0].content) == {"events": [{"type": "a", "data": 1, "id": "x"}]}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_pause_is_as_long_as_the_node_says(status: int) -> None:
    made, _, pauses = client(refusal(status, **{"retry-after": "7"}), ok())
    made.publish(NewEvent(type="a", data=1))
    assert pauses == [7.0]


def test_pauses_grow_and_are_bounded() -> None:
    made, _, pauses = client(*[refusal(503, **{"retry-after": "3600"})], *[refusal(503)] * 9, ok(), tries=11)
    made.publish(NewEvent(type="a", data=1))
    assert pauses[0] == PAUSE_SECONDS_MAX
    assert pauses[1:] == sorted(pauses[1:])
    assert max(pauses) == PAUSE_SECONDS_MAX


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500])
def test_refusals_that_stand_are_not_repeated(status: int) -> None:
    made, requests, pauses = client(refusal(status))
    with pytest.raises(Problem) as caught:
        made.publish(NewEvent(type="a", data=1))
    assert (len(requests), pauses) == (1, [])
    assert (caught.value.status, caught.value.code, caught.value.hint) == (status, "overloaded", "Wait.")


def test_last_refusal_is_raised() -> None:
    made, requests, _ = client(refusal(503), refusal(503), tries=2)
    with pytest.raises(Problem, match=r"Too much\. \(overloaded\)"):
        made.publish(NewEvent(type="a", data=1))
    assert len(requests) == 2


def test_no_answer_is_unreachable() -> None:
    made, _, _ = client(httpx2.ReadTimeout("slow"), httpx2.ConnectError("no"), tries=2)
    with pytest.raises(Unreachable, match="http://node:1 does not answer: no"):
        made.get("/v1/audit")


def test_redirects_are_never_followed() -> None:
    """A key is never shown to another host."""
    made, requests, _ = client(httpx2.Response(302, headers={"location": "http://elsewhere/"}))
    with pytest.raises(Problem):
        made.get("/v1/audit")
    assert len(requests) == 1


@pytest.mark.parametrize("body", ["", "nonsense", "[1]", '{"errors": null}'])
def test_refusal_without_a_problem_document(body: str) -> None:
    made, _, _ = client(httpx2.Response(418, text=body))
    with pytest.raises(Problem) as caught:
        made.get("/")
    assert caught.value.status == 418
    assert caught.value.errors == ()
    assert caught.value.document["status"] == 418


def test_queries_leave_out_what_is_not_given() -> None:
    made, requests, _ = client(ok({"data": []}, 200))
    made.get("/v1/events", {"tenant": None, "limit": 5, "type": "a&b"})
    assert requests[0].url.query == b"limit=5&type=a%26b"


def test_empty_answer_is_none() -> None:
    made, requests, _ = client(httpx2.Response(204))
    assert made.delete("/v1/x") is None
    assert "content-type" not in requests[0].headers


def test_patch_carries_a_body() -> None:
    made, requests, _ = client(ok({"a": 1}, 200))
    assert made.patch("/v1/x", {"b": 2}) == {"a": 1}
    assert requests[0].content == b'{"b":2}'
    assert "idempotency-key" not in requests[0].headers


def test_segment_quotes_everything() -> None:
    assert segment("a/b?c#d é") == "a%2Fb%3Fc%23d%20%C3%A9"


@pytest.mark.parametrize("url", ["", "node:8400", "ftp://node", "http://"])
def test_only_http_urls(url: str) -> None:
    with pytest.raises(ValueError, match="is not an http or https URL"):
        Client(url, None)


def test_retry_after_that_is_a_date_is_passed_over() -> None:
    made, _, pauses = client(refusal(503, **{"retry-after": "Sun, 22 Nov 2026 08:00:00 GMT"}), ok())
    made.publish(NewEvent(type="a", data=1))
    assert pauses == [0.5]


# -- the feed ----------------------------------------------------------------------------------


def feed_page(*names: str, cursor: str, more: bool = False) -> httpx2.Response:
    common = {"type": "a", "tenant": "t", "accepted_at": "2026-11-22T08:30:00.000Z"}
    rest = {"occurred_at": None, "ordering_key": None}
    data = [{**common, **rest, "id": name, "cursor": f"of {name}", "data": {"n": 1}} for name in names]
    return ok({"data": data, "next_cursor": cursor, "more": more}, 200)


def test_the_feed_goes_on_behind_each_page() -> None:
    made, requests, _ = client(feed_page("a", "b", cursor="1", more=True), feed_page("c", cursor="2"))
    events = list(made.feed(consumer="books", types=["x", "y.*"], follow=False))
    assert [event.id for event in events] == ["a", "b", "c"]
    assert bytes(events[0].data) == b'{"n":1}'
    assert dict(requests[0].url.params) == {"consumer": "books", "types": "x,y.*", "limit": "100", "wait": "0"}
    assert requests[1].url.params["cursor"] == "1"
    assert "consumer" not in requests[1].url.params


def test_who_follows_waits_for_a_node_that_is_away() -> None:
    away = httpx2.ConnectError("away")
    made, requests, pauses = client(feed_page("a", cursor="1"), away, refusal(503), feed_page("b", cursor="2"), tries=1)
    events = made.feed(cursor="end")
    assert [next(events).id, next(events).id] == ["a", "b"]
    assert pauses == [PAUSE_SECONDS_MAX] * 2
    assert [request.url.params["cursor"] for request in requests] == ["end", "1", "1", "1"]
    made, _, _ = client(away, tries=1)
    with pytest.raises(Unreachable):
        next(made.feed(follow=False))
    made, _, _ = client(refusal(403), tries=1)
    with pytest.raises(Problem):
        next(made.feed())


def test_a_gap_is_told_and_passed() -> None:
    entry = {"path": "cursor", "code": "expired", "message": "Gone.", "cursor": "fresh", "from": "a", "to": "b"}
    gone = httpx2.Response(412, json={"code": "feed_cursor_gone", "title": "Gone.", "errors": [entry]})
    told: list[Problem] = []
    made, requests, _ = client(gone, feed_page("b", cursor="2"))
    assert [event.id for event in made.feed(cursor="old", follow=False, lost=told.append)] == ["b"]
    assert [problem.errors[0]["from"] for problem in told] == ["a"]
    assert requests[1].url.params["cursor"] == "fresh"
    made, _, _ = client(gone)
    with pytest.raises(Problem):
        next(made.feed(cursor="old"))


def test_a_position_is_acknowledged() -> None:
    made, requests, _ = client(ok({}, 200))
    made.acknowledge("a/b", "1", back=True)
    assert (requests[0].method, requests[0].url.raw_path) == ("PUT", b"/v1/feed/consumers/a%2Fb")
    assert json.loads(requests[0].content) == {"cursor": "1", "back": True}
