"""D14: what senders are told while nothing can be taken, and whether all that they sent arrives in the end."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from posthouse.drills.cast import CONNECTWISE, Cast, Player
from posthouse.drills.drill import Drill
from posthouse.drills.faulty_node import SWITCH_FILE, Switch
from posthouse.drills.ground import Ground
from posthouse.drills.incoming import Exchange, contents, inbound_rules, settle_entrances, trust
from posthouse.drills.measures import P99, in_ms, percentile
from posthouse.drills.receiving import ANSWER_MS_MAX, ANSWER_P99_MS_MAX, SourceBooks
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.drills.senders.books import Fate
from posthouse.drills.senders.tls import Authority
from posthouse.drills.senders.wire import Failure
from posthouse.providers.index import preset_named

RATE_EACH: Final = 20.0  #: events a second of each sender
FULL_SECONDS: Final = 20
FULL_SECONDS_MIN: Final = 3
CALM_SECONDS: Final = 4.0  #: before, between and after the outages
SETTLED_SECONDS_MAX: Final = 150.0  #: until every sender has no event left to send again
_SUCCESS: Final = range(200, 300)


class Outage(NamedTuple):
    """A time at which nothing can be taken."""

    since: float  #: monotonic, as are all of these
    until: float
    answers: bool  #: whether the node is there to say so

    def covers(self, exchange: Exchange) -> bool:
        """Whether all of the request happened in it."""
        return self.since <= exchange.began_at and exchange.ended_at <= self.until

    def touches(self, exchange: Exchange) -> bool:
        """Whether any of the request happened in it."""
        return exchange.began_at <= self.until and self.since <= exchange.ended_at


class Overload(Drill):
    """D14."""

    number = "D14"
    title = "Whatever a node cannot take is sent again, because each sender was told so in its own code"
    needs_own_node = "it fills the node's disk, stops it and kills it"
    program = ("posthouse.drills.faulty_node", "full")

    @property
    def _full_seconds(self) -> int:
        return self.plan.scaled(FULL_SECONDS, least=FULL_SECONDS_MIN)

    def given(self) -> list[str]:
        """Six senders."""
        return [
            "a node on a new store, and six senders with a source and an endpoint each",
            f"each sends {RATE_EACH:g} events a second, and sends again what its own rules say, only sooner",
            "ConnectWise in real time: after 2 and 4 seconds, and only what was answered 404, 409, 419 or 429",
        ]

    def when(self) -> list[str]:
        """Three outages."""
        return [
            f"the disk is full for {self._full_seconds} s",
            "SIGTERM ends the process, and it is started again",
            "SIGKILL ends the process, and it is started again",
        ]

    def run(self, ground: Ground) -> Findings:
        """Send all the time, break the node three times, and compare what the senders believe with what is there."""
        authority = Authority()
        ground.do("starting the node with the authority of the simulated keys", 0.0, to=0.05, seconds=3)
        trust(ground, authority)
        with Cast(ground, authority, seed=self.plan.seed) as cast:
            outages: list[Outage] = []
            ground.send(cast.play(RATE_EACH), owed=cast.delivered)
            self._break(ground, outages)
            ground.do("waiting until every sender is through", 0.6, to=0.9, seconds=10)
            cast.stop()
            ground.until(
                lambda: ground.is_published, seconds_max=SETTLED_SECONDS_MAX, what="the last retry of a sender"
            )
            ground.mark(Kind.RECOVERY, "no sender has anything left to send")
            ground.do("waiting until all is passed on", 0.9)
            books = settle_entrances(ground)
            return _findings(ground, cast.players, outages, books)

    def _break(self, ground: Ground, outages: list[Outage]) -> None:
        """The course of events."""
        node, switch = ground.node, ground.node.data / SWITCH_FILE
        seconds = self._full_seconds

        def full() -> None:
            switch.write_text(Switch.FULL, "utf-8")
            ground.pause(seconds)
            switch.unlink()

        def restarted() -> None:
            node.stop()
            node.start()

        def killed() -> None:
            node.kill()
            node.start()

        faults = (("the disk is full", full), ("restarted", restarted), ("killed", killed))
        for number, (text, happen) in enumerate(faults):
            ground.do("all is well", 0.05 + 0.15 * number)
            ground.pause(CALM_SECONDS)
            ground.do(text, 0.15 + 0.15 * number)
            since, since_s = time.monotonic(), ground.now_s
            happen()
            outages.append(Outage(since, time.monotonic(), answers=happen is full))
            ground.mark(Kind.FAULT, text, at_s=since_s, until_s=ground.now_s)
        ground.pause(CALM_SECONDS)


# -- what came of it ------------------------------------------------------------------------------


class _Compared(NamedTuple):
    """One sender's events, held against the node's."""

    not_delivered: int  #: that it does not take for delivered in the end
    not_once: int  #: that it takes for delivered, and that are not there exactly once
    twice: int  #: that are there more than once, whatever it takes them for
    strangers: int  #: that are there, and that it never sent
    lost_and_there: int  #: that it takes for lost, and that are there


def _compare(ground: Ground, player: Player) -> _Compared:
    there = contents(ground, player.inbox)
    entries = player.books.entries.values()
    delivered = [entry for entry in entries if entry.fate is Fate.DELIVERED]
    return _Compared(
        not_delivered=len(entries) - len(delivered),
        not_once=sum(there[entry.digest] != 1 for entry in delivered),
        twice=sum(count > 1 for count in there.values()),
        strangers=len(there.keys() - {entry.digest for entry in entries}),
        lost_and_there=sum(entry.fate is Fate.LOST and there[entry.digest] > 0 for entry in entries),
    )


def _findings(
    ground: Ground, players: Sequence[Player], outages: Sequence[Outage], books: Mapping[str, SourceBooks]
) -> Findings:
    compared = {player.name: _compare(ground, player) for player in players}
    calm = [exchange for player in players for exchange in player.wire.exchanges if not _is_hit(exchange, outages)]
    waits_ms = [in_ms(exchange.ended_at - exchange.began_at) for exchange in calm]
    told = sum(_is_told(player, outages) for player in players)
    wrong = sum(_refusals_in_other_words(player) for player in players)
    coming_again = [compared[player.name] for player in players if player.comes_again]
    connectwise = next(player for player in players if player.name == CONNECTWISE)
    lost = _losses(connectwise)
    acknowledged = sum(_acknowledged(player) for player in players)
    received = sum(each.received for each in books.values())
    then = [
        Then("senders that were told by their code that nothing can be taken", told, "=", len(players)),
        Then("refusals in another code than its sender understands", wrong, "=", 0),
        Then("senders that do not come again by themselves after silence", len(players) - len(coming_again), "=", 1),
        Then(
            "events of the others that were not delivered in the end",
            sum(c.not_delivered for c in coming_again),
            "=",
            0,
        ),
        Then("events that ConnectWise lost for any other reason than an outage", lost.pop("unexplained"), "=", 0),
        Then(
            "events called delivered that are not there exactly once",
            sum(c.not_once for c in compared.values()),
            "=",
            0,
        ),
        Then("events that are there twice", sum(c.twice for c in compared.values()), "=", 0),
        Then("events that nobody sent", sum(c.strangers for c in compared.values()), "=", 0),
        Then("acknowledged requests that are not in the books", max(acknowledged - received, 0), "=", 0),
        Then("requests in quarantine", sum(each.quarantined + each.doubted for each in books.values()), "=", 0),
        *inbound_rules(ground, books.values(), ground.inboxes),
        Then("requests refused or unanswered outside of the outages", sum(not _is_taken(e) for e in calm), "=", 0),
        Then(
            "from a request to its answer outside of the outages, p99",
            percentile(waits_ms, P99),
            "≤",
            ANSWER_P99_MS_MAX,
            "ms",
        ),
        Then("the longest of these", max(waits_ms, default=0), "≤", ANSWER_MS_MAX, "ms"),
    ]
    figures: dict[str, float | str] = {
        "events": sum(len(player.books.entries) for player in players),
        "requests": sum(len(player.wire.exchanges) for player in players),
        "requests_outside_of_outages": len(calm),
        "connectwise_lost": connectwise.books.totals().lost,
        **{f"connectwise_lost_after_{what}": count for what, count in lost.items()},
        "connectwise_lost_and_in_the_node_all_the_same": compared[CONNECTWISE].lost_and_there,
        "connectwise_lost_keys": " ".join(connectwise.books.named(Fate.LOST)),
    }
    return Findings(then=then, figures=figures, places=[_place(player) for player in players])


def _is_hit(exchange: Exchange, outages: Sequence[Outage]) -> bool:
    return any(outage.touches(exchange) for outage in outages)


def _is_taken(exchange: Exchange) -> bool:
    return exchange.result in _SUCCESS


def _is_told(player: Player, outages: Sequence[Outage]) -> bool:
    """Whether a sender was answered in its own code while the node was there and could take nothing."""
    return any(
        exchange.result == player.overload and any(outage.answers and outage.covers(exchange) for outage in outages)
        for exchange in player.wire.exchanges
    )


def _refusals_in_other_words(player: Player) -> int:
    """Answers that do not say that a request is taken, and do not say to this sender that it may come again."""
    return sum(
        not isinstance(exchange.result, Failure) and not _is_taken(exchange) and exchange.result != player.overload
        for exchange in player.wire.exchanges
    )


def _losses(player: Player) -> dict[str, int]:
    """How many events a sender lost, by what became of the last attempt."""
    found = dict.fromkeys(["unexplained", *Failure, str(player.overload)], 0)
    for key in player.books.named(Fate.LOST):
        *before, last = player.books.entries[key].statuses
        patience = len(preset_named(player.name).sender.delays_s)
        is_spent = len(before) == patience and {*before, last} == {player.overload}
        found[str(last) if isinstance(last, Failure) or is_spent else "unexplained"] += 1
    return found


def _acknowledged(player: Player) -> int:
    """Requests that were taken. A handshake is none of them: it is answered, and not kept."""
    return sum(count for code, count in player.books.codes.items() if code.isdecimal() and int(code) in _SUCCESS)


def _place(player: Player) -> Mapping[str, Any]:
    """What became of one sender's events, in a line."""
    totals = player.books.totals()
    return {
        "sender": player.name,
        "events": totals.events,
        "sent again": totals.retried,
        "delivered": totals.delivered,
        "lost": totals.lost,
        "answers": ", ".join(f"{code}: {count}" for code, count in totals.codes.items()),
    }
