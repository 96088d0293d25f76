"""D18: events that break whatever touches them. Each ends in a place with a name, and harms no other."""

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from posthouse.core.ids import ENDPOINT, parse_id
from posthouse.core.limits import EVENT_BODY_BYTES_MAX
from posthouse.core.model import Secret
from posthouse.core.retry import FAULT, POISON
from posthouse.drills.drill import Drill
from posthouse.drills.events import Outgoing, outgoing
from posthouse.drills.faulty_node import CRASH_TYPE
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.http_client import Answer
from posthouse.drills.line import Line
from posthouse.drills.plan import RATE
from posthouse.drills.publisher import ACCEPTED
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.gateway.endpoints import REASON_INVALID
from posthouse.sdk.client import Problem, segment
from posthouse.store.open import open_store
from posthouse.system import SystemClock

EVENTS: Final = 10_000
EVENTS_MIN: Final = 200
ENDPOINTS: Final = 10
TRIES_MAX: Final = 3
PARKED: Final = 1  #: of the poison events that need a fault inside, how many are given up
HELD: Final = 1  #: and how many wait for somebody to mend their endpoint
ANSWER_SECONDS_MAX: Final = 60.0
PLACED_SECONDS_MAX: Final = 60.0
STORE_SECONDS_MAX: Final = 60.0
RETRY: Final = "custom:1s,1s,1s,1s,1s"  #: so that nobody waits for three weeks
SPOILED_TYPE: Final = "drill.spoiled"
SPOILED_SECRET: Final = "whsec_spoiled"  # noqa: S105 - it is none, and that is the point
LOOK_SECONDS: Final = 0.3
NOT_FOUND: Final = 404
CLIENT_ERROR: Final = 400
SERVER_ERROR: Final = 500
_STARTED: Final = "process_start_time_seconds"


class Poison(NamedTuple):
    """An event that somebody's code cannot bear."""

    what: str
    data: bytes  #: in place of the event's JSON
    type: str = "drill.0"
    is_inside: bool = False  #: it needs a fault inside the node


def nested(depth: int) -> bytes:
    """JSON with so many arrays in each other."""
    return b"[" * depth + b"]" * depth


POISONS: Final = (
    Poison("bytes that are not UTF-8", b'"\xc3\x28"'),
    Poison("an event that crashes the delivering code", b"{}", CRASH_TYPE, is_inside=True),
    Poison("the character U+0000", rb'{"name":"a\u0000b"}'),
    Poison("JSON nested 30 deep", nested(30)),
    Poison("JSON nested 100 deep", nested(100)),
    Poison("an endpoint whose stored secret has become invalid", b"{}", SPOILED_TYPE, is_inside=True),
    Poison("half of a surrogate pair", rb'{"name":"\ud800"}'),
    Poison("numbers beyond every type", b"[1e999,-" + b"9" * 400 + b",0.1e-999]"),
    Poison("JSON that breaks off", b'{"name":"a'),
    Poison("more bytes than an event may have", b'"' + b"x" * EVENT_BODY_BYTES_MAX + b'"'),
)


class Place(msgspec.Struct, frozen=True):
    """Where a poison event ended."""

    what: str
    place: str  #: refused, delivered, parked or held; or nowhere: none of these, and that is a fault
    detail: str
    attempts: int = 0
    faults: int = 0  #: attempts whose outcome says that the program itself failed


class PoisonEvents(Drill):
    """D18."""

    number = "D18"
    title = "Poison events end in a place with a name, and harm no other"
    program = ("posthouse.drills.faulty_node", "crash")

    @property
    def _poisons(self) -> list[Poison]:
        return [poison for poison in POISONS if self.is_own or not poison.is_inside]

    @property
    def _others(self) -> int:
        return self.plan.scaled(EVENTS, least=EVENTS_MIN) - len(self._poisons)

    def given(self) -> list[str]:
        """A node that can be crashed."""
        node = "a node on a new store" if self.is_own else f"the node at {self.plan.against}"
        inside = ["its transport crashes on one event type; the stored secret of one endpoint is not valid any more"]
        return [f"{node}, and {ENDPOINTS} endpoints that answer", *(inside if self.is_own else [])]

    def when(self) -> list[str]:
        """Poison among the others."""
        return [f"{len(self._poisons)} poison events are published among {self._others:,} others, {RATE:g} a second"]

    def left_out(self) -> list[str]:
        """Faults inside a node that is somebody else's."""
        return [f"{poison.what}: it needs a fault inside the node" for poison in POISONS if poison not in self._poisons]

    def run(self, ground: Ground) -> Findings:
        """Publish, poison included, and see where each of them ended."""
        types = [f"drill.{number}" for number in range(ENDPOINTS)]
        for number, event_type in enumerate(types):
            more = [CRASH_TYPE] if number == 0 and self.is_own else []
            ground.add_endpoint(f"{number}", [event_type, *more], retry=RETRY)
        if self.is_own:
            ground.add_endpoint("spoiled", [SPOILED_TYPE], retry=RETRY)
            self._spoil(ground)
        process = ground.metrics()[_STARTED]
        publisher = ground.publish(outgoing(types, seed=self.plan.seed, total=self._others))
        answers = self._poison(ground)
        inside = sum(poison.is_inside for poison, _ in answers.values())
        accepted = sum(answer.status == ACCEPTED for _, answer in answers.values())
        ground.do("waiting until all others are delivered", 0.7, to=0.9, seconds=5.0)
        ground.until_published()
        ground.holds_within(
            lambda: ground.receivers.delivered >= publisher.owed - inside, seconds_max=PLACED_SECONDS_MAX
        )
        ground.holds_within(lambda: self._all_placed(ground), seconds_max=PLACED_SECONDS_MAX, every_s=LOOK_SECONDS)
        places = {event: _place(ground, event, poison, answer) for event, (poison, answer) in answers.items()}
        ground.mark(Kind.NOTE, "all others are delivered")
        if self.is_own:
            _mend(ground)
        parked = [event for event, place in places.items() if place.place == "parked"]
        books = ground.settle(parked=len(parked))
        found = ground.reckon(parked=parked)
        count = Counter(place.place for place in places.values())
        tries = max(places[event].attempts for event in parked) if parked else 0
        faults = min(places[event].faults for event in parked) if parked else 0
        then = [
            Then("poison events that ended in no place with a name", count["nowhere"], "=", 0),
            Then("refused before acceptance, with a code", count["refused"], "≥", 1),
            Then("delivered byte for byte", count["delivered"], "≥", 1),
            *(self._then_inside(count, tries=tries, faults=faults) if self.is_own else []),
            Then("other events with their 202", publisher.acknowledged - accepted, "=", self._others),
            Then("restarts of the process", int(ground.metrics()[_STARTED] != process), "=", 0),
            Then("deliveries parked in the node's books", books.exhausted, "=", len(parked)),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {"owed": found.owed, "delivered": found.delivered}
        figures |= {f"poison_{place}": number for place, number in count.items()}
        return Findings(then=then, figures=figures, places=[msgspec.to_builtins(place) for place in places.values()])

    def _then_inside(self, count: Mapping[str, int], *, tries: int, faults: int) -> list[Then]:
        return [
            Then("parked, with the reason and each attempt", count["parked"], "=", PARKED),
            Then("tries before one was parked", tries, "≤", TRIES_MAX),
            Then("of these, shown as a fault of the program", faults, "=", tries),
            Then("held, with the reason, until the endpoint was mended", count["held"], "=", HELD),
        ]

    def _all_placed(self, ground: Ground) -> bool:
        """Whether the books say that what is to be parked is parked."""
        books = ground.books()
        return books.exhausted == PARKED and books.open == HELD if self.is_own else not books.open

    def _poison(self, ground: Ground) -> dict[str, tuple[Poison, Answer]]:
        """Publish each poison event once, evenly spread over the others; what the answers were."""
        answers: dict[str, tuple[Poison, Answer]] = {}
        for number, poison in enumerate(self._poisons, 1):
            share = number / (len(self._poisons) + 1)
            ground.do(f"publishing; poison event {number} comes next", 0.7 * share)
            ground.until_acknowledged(share * self._others)
            ground.mark(Kind.FAULT, f"{number}")
            event = Outgoing(f"poison-{number}", poison.type, poison.data)
            answer = ground.run(_offer(ground, event), seconds_max=ANSWER_SECONDS_MAX, what="an answer")
            answers[event.id] = (poison, answer)
        return answers

    def _spoil(self, ground: Ground) -> None:
        """Make the last endpoint's stored secret invalid, while the node does not run."""
        ground.do("spoiling an endpoint in the store", 0.0)
        ground.node.stop()
        ground.run(_spoil_endpoint(ground), seconds_max=STORE_SECONDS_MAX, what="the store")
        ground.node.start()


async def _offer(ground: Ground, event: Outgoing) -> Answer:
    line = Line(ground.url, ground.api_key)
    try:
        return await ground.publisher.offer(line, event)
    finally:
        line.close()


async def _spoil_endpoint(ground: Ground) -> None:
    key = parse_id(ENDPOINT, ground.inboxes[-1].endpoint)
    assert key is not None, "the node made this id"
    store = await open_store(ground.node.data, clock=SystemClock())
    try:
        endpoint = await store.catalogue.endpoint(key)
        assert endpoint is not None, "the node has stored it"
        secret = Secret(SPOILED_SECRET, created_at=endpoint.created_at)
        await store.catalogue.put_endpoint(msgspec.structs.replace(endpoint, secrets=(secret,)), seen=endpoint.revision)
    finally:
        await store.close()


def _mend(ground: Ground) -> None:
    """Give the spoiled endpoint a new secret, and resume it."""
    ground.mark(Kind.RECOVERY, "the endpoint is mended")
    inbox = ground.inboxes[-1]
    with ground.client() as client:
        endpoint = f"/v1/endpoints/{segment(inbox.endpoint)}"
        inbox.secret = client.post(f"{endpoint}/rotate-secret", {"overlap_ms": 0})["secret"]
        client.post(f"{endpoint}/resume")


def _place(ground: Ground, event: str, poison: Poison, answer: Answer) -> Place:
    """Where the node says that an event ended, and whether what its receiver saw agrees."""
    if answer.status != ACCEPTED:
        return _place_of_refused(ground, event, poison, answer)
    with ground.client() as client:
        (listed,) = client.get("/v1/deliveries", {"tenant": ground.tenant, "event": event})["data"]
        shown = client.get(f"/v1/deliveries/{segment(listed['id'])}")
    attempts = len(shown["attempts"])
    faults = sum(attempt["outcome"] == FAULT for attempt in shown["attempts"])
    arrived = any(event in inbox.seen and inbox.seen[event].answered for inbox in ground.inboxes)
    waits_for = shown["waits_for"] or {"code": None, "message": ""}
    match shown["status"], shown["reason"], waits_for["code"]:
        case "delivered", None, None if arrived:
            return Place(poison.what, "delivered", "byte for byte", attempts, faults)
        case "exhausted", reason, None if reason == POISON and not arrived:
            return Place(poison.what, "parked", f"exhausted, reason {reason}", attempts, faults)
        case "waiting", None, "endpoint_disabled" if REASON_INVALID in waits_for["message"] and not arrived:
            return Place(poison.what, "held", f"waiting, endpoint disabled: {REASON_INVALID}", attempts, faults)
        case status, reason, code:
            return Place(poison.what, "nowhere", f"{status}, reason {reason}, waits for {code}", attempts, faults)


def _place_of_refused(ground: Ground, event: str, poison: Poison, answer: Answer) -> Place:
    """An event that was refused has a code of its own, and nothing of it is stored."""
    problem = msgspec.json.decode(answer.body)
    code = next((error["code"] for error in problem.get("errors", ())), problem["code"])
    with ground.client() as client:
        try:
            client.get(f"/v1/events/{segment(event)}", {"tenant": ground.tenant})
        except Problem as refusal:
            named = refusal.status == NOT_FOUND and CLIENT_ERROR <= answer.status < SERVER_ERROR
            return Place(poison.what, "refused" if named else "nowhere", f"{answer.status} {code}")
    return Place(poison.what, "nowhere", f"{answer.status} {code}, and stored all the same")
