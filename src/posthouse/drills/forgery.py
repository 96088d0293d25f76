"""D21: a secret that changes at the sender first, and requests of somebody who knows no secret."""

from collections.abc import Mapping, Sequence
from typing import Final

from posthouse.drills.deceit import ATTEMPTS, BATCH, Result, Scene
from posthouse.drills.drill import Drill
from posthouse.drills.ground import Ground
from posthouse.drills.incoming import inbound_rules, quarantined, settle_entrances, trust
from posthouse.drills.leaks import search
from posthouse.drills.receiving import SourceBooks
from posthouse.drills.recording import Kind
from posthouse.drills.report import Findings, Then
from posthouse.drills.senders.tls import Authority
from posthouse.providers.index import preset_named

EVENTS: Final = 1_000  #: of each kind
EVENTS_MIN: Final = 50
FORGED_MIN: Final = 25
BLOCKED_MIN: Final = 20
TEXTS_MIN: Final = 40  #: that were searched for secrets, or the search proves little

_SUCCESS: Final = range(200, 300)


class Forgery(Drill):
    """D21."""

    number = "D21"
    title = "Nothing forged is passed on, nothing genuine is lost, and no secret is shown"
    needs_own_node = "it reads its log, and gives it an authority to trust"

    @property
    def _events(self) -> int:
        return self.plan.scaled(EVENTS, least=EVENTS_MIN)

    def given(self) -> list[str]:
        """Four senders."""
        return [
            "a node on a new store, with a source and an endpoint for each of four senders",
            "GoCardless (an HMAC) and one that keeps to Standard Webhooks (an HMAC over id and time)",
            f"Cornerstone (a key in a header) and ConnectWise (keys to fetch); each sends {self._events:,} events",
        ]

    def when(self) -> list[str]:
        """Rotation, forgery, replay."""
        return [
            "GoCardless signs with a new secret before the node has it, until it gives up; then the node gets it",
            "afterwards both secrets are in use; what was refused is verified again",
            "requests with no signature, a guessed one or another's; requests heard and changed, or sent again",
            "callbacks of ConnectWise whose key stands at the machine's own metadata, on loopback, and elsewhere",
        ]

    def run(self, ground: Ground) -> Findings:
        """Send, rotate, forge, verify again, and search."""
        authority = Authority()
        ground.do("starting the node with the authority of the simulated keys", 0.0, to=0.05, seconds=3)
        trust(ground, authority)
        with Scene(ground, authority, seed=self.plan.seed, events=self._events) as scene:
            ground.do("all is well", 0.05)
            scene.begin()
            ground.do("the sender has a new secret, and the node does not", 0.2)
            ground.mark(Kind.FAULT, "the sender's secret is new")
            scene.change_at_the_sender()
            ground.do("the node has the new secret too", 0.4)
            ground.mark(Kind.NOTE, "the node has it too")
            scene.change_at_the_node()
            ground.do("forging", 0.5)
            scene.forge()
            ground.do("verifying again what was refused", 0.6)
            scene.verify_again()
            ground.mark(Kind.RECOVERY, "verified again")
            books = settle_entrances(ground)
            ground.do("searching for secrets", 0.8)
            return _findings(ground, scene, books)


def _findings(ground: Ground, scene: Scene, books: Mapping[str, SourceBooks]) -> Findings:
    compared = scene.compare()
    searched = search(ground, [*scene.secrets, *scene.signing_keys])
    not_once = sum(each["not_once"] for each in compared.values())
    then = [
        *_rotation_rules(scene),
        Then("genuine events that are not there exactly once", not_once, "=", 0),
        Then("forged events that are there", sum(each["strangers"] for each in compared.values()), "=", 0),
        *_forgery_rules(ground, scene),
        *inbound_rules(ground, books.values(), ground.inboxes),
        Then("texts of log, API and command line that were searched for secrets", searched.texts, "≥", TEXTS_MIN),
        Then("secrets in them", sum(searched.found.values()), "=", 0),
    ]
    figures: dict[str, float | str] = {
        "events": sum(each["genuine"] for each in compared.values()),
        "secrets": len(scene.secrets) + len(scene.signing_keys),
        "searched_chars": searched.chars,
        "secrets_found_in": ", ".join(searched.found),
        "duplicates_suppressed": sum(each.duplicates for each in books.values()),
    }
    return Findings(then=then, figures=figures)


def _rotation_rules(scene: Scene) -> list[Then]:
    events = len(scene.early.entries)
    refused = ATTEMPTS * -(-events // BATCH)
    not_kept = refused + len(scene.forged.before) - scene.kept_before
    incomplete = sum(not each.totals().is_complete for each in scene.both)
    return [
        Then(
            "events sent with the new secret too early, which their sender lost", scene.early.totals().lost, "=", events
        ),
        Then("requests refused meanwhile that are not kept", not_kept, "=", 0),
        Then("of these, requests that were verified again", scene.recovered, "=", refused),
        Then("secrets under which not everything was taken, when both were in use", incomplete, "=", 0),
    ]


def _forgery_rules(ground: Ground, scene: Scene) -> list[Then]:
    forged = scene.forged
    unsigned = [*forged.before, *forged.after]
    misled = _others(unsigned, "gocardless") + _others(forged.signed, "standard-webhooks")
    gone = len(unsigned) - len(quarantined(ground, scene.gocardless.entrance))
    gone += len(forged.signed) - len(quarantined(ground, scene.signed.entrance))
    callbacks = len(forged.callbacks) + len(forged.with_other_keys)
    callbacks -= len(quarantined(ground, scene.connectwise.entrance))
    return [
        Then("forged or changed requests", len(unsigned) + len(forged.signed), "≥", FORGED_MIN),
        Then("of these, answered with anything but the sender's code for a bad signature", misled, "=", 0),
        Then("of these, requests that are not in quarantine any more", gone, "=", 0),
        Then("requests sent again byte for byte that were refused", _others(forged.replayed, None), "=", 0),
        Then("callbacks whose key stands where nobody may fetch it", len(forged.callbacks), "≥", BLOCKED_MIN),
        Then("of these, answered with anything but 401", _others(forged.callbacks, "connectwise"), "=", 0),
        Then("connections to where nobody may call", scene.trapped, "=", 0),
        Then("keys fetched from anybody but ConnectWise", scene.fetches_too_many, "=", 0),
        Then("callbacks with another's key that are not in quarantine", callbacks, "=", 0),
    ]


def _others(results: Sequence[Result], provider: str | None) -> int:
    """How many of these are not what this sender has to be told of a bad signature; None: that it is taken."""
    if provider is None:
        return sum(result not in _SUCCESS for result in results)
    return sum(result != preset_named(provider).answers.bad_signature for result in results)
