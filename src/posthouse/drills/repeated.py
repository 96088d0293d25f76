"""D11: the same thing happens again, and the same request comes again. The one is an event, the other is not."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from posthouse.drills.drill import Drill
from posthouse.drills.ground import Ground, common_rules
from posthouse.drills.receivers import Inbox
from posthouse.drills.receiving import Stopwatch, answer_rules, first_handled, reckon_received, source_rules
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.drills.senders.boldpenguin import BoldPenguin
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Connections
from posthouse.sdk.client import segment
from posthouse.system import SystemClock

SETS: Final = 200
COMPLETIONS: Final = 2
REDELIVERIES: Final = 5
TYPE: Final = "question_set:completed"
RATE: Final = 100.0
SECRET: Final = "a-secret-that-both-know"  # noqa: S105 - of a simulated sender
CONNECTIONS: Final = 8
PATIENCE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.2
REPEATED: Final = "posthouse_source_events_repeated_total"


class Repeated(Drill):
    """D11."""

    number = "D11"
    title = "What happens again is an event again; what is only sent again is suppressed, and counted"

    @property
    def _sets(self) -> int:
        return self.plan.scaled(SETS)

    def given(self) -> list[str]:
        """Question sets."""
        node = "a node on a new store" if self.is_own else f"the node at {self.plan.against}"
        return [
            f"{node} with a source for Bold Penguin, whose requests have no id, and an endpoint that gets all of it",
            f"{self._sets:,} question sets",
        ]

    def when(self) -> list[str]:
        """Both kinds of again."""
        return [
            "each set is completed, edited and completed again: another request about the same record",
            f"the request about its first completion is delivered again, {REDELIVERIES} times at once",
        ]

    def run(self, ground: Ground) -> Findings:
        """Complete, complete again, send again, and see what was handled."""
        inbox = ground.add_endpoint("all", ["*"])
        entrance = ground.add_source("boldpenguin", SECRET)
        wire = Connections(CONNECTIONS)
        watch = Stopwatch(wire)
        pace = Pace(SystemClock(), seed=self.plan.seed)
        sender = BoldPenguin(entrance.url, SECRET, wire=watch, pace=pace, types=(TYPE,), records=self._sets)
        before = ground.metrics()[REPEATED]
        total = COMPLETIONS * self._sets
        ground.do("completing question sets, and again", 0.0, to=0.4, seconds=total / RATE)
        ground.send(sender.run(total, RATE), owed=lambda: sender.books.delivered)
        ground.until_published()

        ground.do("sending requests again", 0.4, to=0.8, seconds=self._sets * REDELIVERIES / 1_000)
        ground.mark(Kind.NOTE, "sent again")
        first = list(sender.requests)[: self._sets]
        ground.send(_redeliver(sender, first))
        ground.until_published()
        ground.background.call(wire.close)
        sent = total + REDELIVERIES * self._sets
        ground.holds_within(
            lambda: ground.source_books(entrance).read >= sent, seconds_max=PATIENCE_SECONDS, every_s=LOOK_SECONDS
        )
        ground.mark(Kind.RECOVERY, "all is passed on")

        ground.do("counting", 0.8)
        books, source = ground.settle(), ground.source_books(entrance)
        found = reckon_received(sender.books.entries.values(), [inbox], strays=ground.receivers.strays)
        then = [
            Then("requests that the node took", _taken(sender), "=", sent),
            *self._then_repeats(ground, inbox, sender, first),
            Then("second deliveries of one completion", found.duplicates, "=", 0),
            *self._then_counted(ground, before, sent - total),
            Then("suppressed, in the source's books", source.duplicates, "=", sent - total),
            Then("new, in the source's books", source.events, "=", total),
            *answer_rules(watch.seconds),
            *source_rules(source),
            *common_rules(found, books),
        ]
        figures: dict[str, float | str] = {
            "requests": source.received,
            "owed": found.owed,
            "delivered": found.delivered,
            "duplicates": found.duplicates,
            "suppressed": source.duplicates,
        }
        return Findings(then=then, figures=figures)

    def _then_counted(self, ground: Ground, before: float, wanted: int) -> list[Then]:
        """What the node counts; on a node that has other work too, that would count there as well."""
        if not self.is_own:
            return []
        return [Then("suppressed, in the node's metrics", int(ground.metrics()[REPEATED] - before), "=", wanted)]

    def _then_repeats(self, ground: Ground, inbox: Inbox, sender: BoldPenguin, again: Sequence[int]) -> list[Then]:
        """What became of each question set, and what the node says of its events. ``again``: requests sent again."""
        said = {number: hooked.parcel.events[0] for number, hooked in sender.requests.items()}
        handled = handled_by_record(inbox, {event.digest: record_of(event.data) for event in said.values()})
        repeats = _repeats_shown(ground, inbox)
        sent_again = {said[number].digest for number in again}
        once = [count for digest, count in repeats.items() if digest not in sent_again]
        times = Counter(handled.values())
        told = sum(repeats[digest] == REDELIVERIES for digest in sent_again)
        return [
            Then("question sets that were handled exactly twice", times[COMPLETIONS], "=", self._sets),
            Then("question sets that were not", len(handled) - times[COMPLETIONS], "=", 0),
            Then(f"events that the node shows to have come again {REDELIVERIES} times", told, "=", self._sets),
            Then("repetitions that it shows of all others", sum(once), "=", 0),
        ]


async def _redeliver(sender: BoldPenguin, requests: Sequence[int]) -> None:
    """Each of these once more, all copies of one at once."""
    for number in requests:
        await asyncio.gather(*(sender.redeliver(number) for _ in range(REDELIVERIES)))


def _taken(sender: BoldPenguin) -> int:
    """How many requests were answered with a code that means: it is taken."""
    return sum(count for code, count in sender.books.codes.items() if code.startswith("2"))


def record_of(data: bytes) -> str:
    """The question set that an event is about."""
    found: str = msgspec.json.decode(data)["id"]
    return found


def handled_by_record(inbox: Inbox, records: Mapping[bytes, str]) -> dict[str, int]:
    """Record → how many different events of it were handled. ``records``: digest of an event → what it is about."""
    found = dict.fromkeys(records.values(), 0)
    for digest in first_handled(inbox):
        if digest in records:
            found[records[digest]] += 1
    return found


def _repeats_shown(ground: Ground, inbox: Inbox) -> Counter[bytes]:
    """Digest → how often the node says that events which say this came again."""
    found: Counter[bytes] = Counter()
    with ground.client() as client:
        for event, seen in inbox.seen.items():
            shown = client.get(f"/v1/events/{segment(event)}", {"tenant": ground.tenant})
            found[seen.digest] += shown["origin"]["repeats"]
    return found
