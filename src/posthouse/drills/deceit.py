"""The scene of D21: four senders, somebody who deceives, and what each of them was answered."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Self

from posthouse.core.limits import SOURCE_SECRETS_CHARS_MAX
from posthouse.core.signature import generate_secret
from posthouse.drills.events import digest_of
from posthouse.drills.forgeries import EVENT_TYPE, Signed, Trap, blocked_urls, with_key, with_key_at, without_the_secret
from posthouse.drills.ground import Ground
from posthouse.drills.http_client import Answer
from posthouse.drills.incoming import contents, quarantined, reverify
from posthouse.drills.plan import DrillFailed
from posthouse.drills.receivers import Inbox
from posthouse.drills.receiving import Entrance
from posthouse.drills.senders.books import Books
from posthouse.drills.senders.connectwise import ConnectWise
from posthouse.drills.senders.connectwise_api import key_server
from posthouse.drills.senders.cornerstone import Cornerstone
from posthouse.drills.senders.gocardless import GoCardless
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.tls import Authority
from posthouse.drills.senders.wire import Connections, Failure, Request
from posthouse.providers.index import preset_named
from posthouse.sdk.client import Problem, segment
from posthouse.system import SystemClock

BATCH: Final = 10  #: events in a request of GoCardless
RATE: Final = 400.0
CONNECTIONS: Final = 16
#: By which the waits of the impatient sender are divided: all its retries are over before we have the new secret.
IMPATIENCE: Final = 1e6
ATTEMPTS: Final = 1 + len(preset_named("gocardless").sender.delays_s)
STEP_SECONDS_MAX: Final = 120.0
DEADLINE_S: Final = 10.0
COMPANY: Final = "drill_c"
_SECRET_BYTES: Final = 24
_SUCCESS: Final = range(200, 300)
_FETCHES: Final = "posthouse_source_keys_fetched_total"

Result = int | Failure


class Door(NamedTuple):
    """A source, and where its events go."""

    entrance: Entrance
    inbox: Inbox


class Forged(NamedTuple):
    """What was answered to requests that nobody may take for genuine."""

    before: list[Result]  #: of GoCardless, when its new secret was not there yet
    after: list[Result]
    signed: list[Result]  #: with an id and a time
    replayed: list[Result]  #: genuine ones that came again, byte for byte
    callbacks: list[Result]  #: whose key stands where nobody may fetch it
    with_other_keys: list[Result]  #: whose key had to be fetched to know it


class Scene:
    """Everybody who takes part; for the main thread. What they do happens on the drill's background loop.

    Args:
        ground: whose node trusts ``authority``.
        authority: vouches for the server of ConnectWise's keys.
        seed: of everything random.
        events: that a sender sends at a time.
    """

    def __init__(self, ground: Ground, authority: Authority, *, seed: int, events: int) -> None:
        self._ground = ground
        self._events = events
        self._wire = Connections(CONNECTIONS)
        self._pace = Pace(SystemClock(), seed=seed)
        self._trap = Trap()
        self.old, self.new, api_key = [self._pace.hex(2 * _SECRET_BYTES) for _ in range(3)]
        self._signing = generate_secret(self._pace.chance.randbytes(_SECRET_BYTES))
        self._too_long = self._pace.hex(2 * SOURCE_SECRETS_CHARS_MAX)
        signing = self._signing.removeprefix("whsec_")
        self.secrets = [self.old, self.new, api_key, self._signing, signing, self._too_long]
        self.gocardless = self._door("gocardless", self.old)
        self.signed = self._door("standard-webhooks", self._signing)
        self.cornerstone = self._door("cornerstone", api_key)
        self.connectwise = self._door("connectwise", COMPANY)
        self._cornerstone = Cornerstone(
            self.cornerstone.entrance.url, api_key, wire=self._wire, pace=self._pace, records_per_request=BATCH
        )
        self._connectwise = self._callbacks(COMPANY)
        self._stranger = self._callbacks("somebody_else")
        self._keys = key_server(self._connectwise, authority, pace=self._pace)
        self._signs = Signed(self.signed.entrance.url, self._signing)
        self._sent: list[Request] = []
        self._first = self._sender(self.old)
        self._early = self._sender(self.new, speed=IMPATIENCE)
        self._late = self._sender(self.old)
        self._next = self._sender(self.new)
        self.forged = Forged([], [], [], [], [], [])
        self.kept_before = 0  #: requests of GoCardless in quarantine when the new secret came
        self.recovered = 0  #: requests of GoCardless that turned out to be genuine

    def __enter__(self) -> Self:
        self._ground.background.run(self._open())
        with self._ground.client() as client:
            client.patch(f"/v1/sources/{segment(self.connectwise.entrance.source)}", {"key_hosts": [self._allowed]})
        return self

    def __exit__(self, *_: object) -> None:
        self._ground.background.run(self._close())

    # -- the course of events -----------------------------------------------------------------------

    def begin(self) -> None:
        """Everybody sends, and is believed."""
        for sender in (self._first.run(self._events, RATE), self._cornerstone.run(fresh=self._events, fresh_rate=RATE)):
            self._ground.send(sender)
        self._ground.send(self._connectwise.run(self._events, RATE), owed=self.delivered)
        self._ground.send(self._send_signed())
        self._ground.until_published()

    def change_at_the_sender(self) -> None:
        """GoCardless signs with its new secret until it gives up; meanwhile somebody forges."""
        self._ground.send(self._early.run(self._events, RATE))
        self._ground.until_published()
        self.forged.before.extend(self._post(without_the_secret(self._genuine(self.old))))
        self.kept_before = len(quarantined(self._ground, self.gocardless.entrance))

    def change_at_the_node(self) -> None:
        """The node learns the new secret, at the second try; then GoCardless signs with both."""
        path = f"/v1/sources/{segment(self.gocardless.entrance.source)}/rotate-secret"
        with self._ground.client() as client:
            with suppress(Problem):
                client.post(path, {"secret": self._too_long})
                raise DrillFailed("The node took a secret that is too long.")
            client.post(path, {"secret": self.new})
        self._ground.send(self._late.run(self._events, RATE))
        self._ground.send(self._next.run(self._events, RATE))
        self._ground.until_published()

    def forge(self) -> None:
        """Everything that somebody without a secret can think of."""
        self.forged.after.extend(self._post(without_the_secret(self._genuine(self.new))))
        heard = self._sent[0]
        self.forged.signed.extend(self._post(self._signs.replayed(heard, 2 * self._events)))
        known = next(iter(self._next.webhooks.values())).parcel.make(1)
        self.forged.replayed.extend(self._post([heard, heard, known, known]))
        callback = self._connectwise.make().make(1)
        urls = blocked_urls(self._trap.port, self._allowed)
        self.forged.callbacks.extend(self._post(with_key_at(callback, url, "a key of my own") for url in urls))
        foreign = self._stranger.make().make(1)
        self._connectwise.keys.update(self._stranger.keys)
        self.forged.with_other_keys.extend(self._post([with_key(callback, "a key of my own"), foreign]))

    def verify_again(self) -> None:
        """What was refused, with the secrets that count now; callbacks are looked at once more, and refused again."""
        for door in (self.signed, self.cornerstone, self.connectwise):
            reverify(self._ground, door.entrance)
        self.recovered = reverify(self._ground, self.gocardless.entrance)

    # -- what came of it ----------------------------------------------------------------------------

    @property
    def signing_keys(self) -> list[str]:
        """Of ConnectWise's callbacks, as the node fetched them."""
        return [signing.key for signing in self._connectwise.keys.values()]

    @property
    def early(self) -> Books:
        """Of GoCardless, while only it had the new secret."""
        return self._early.books

    @property
    def both(self) -> Sequence[Books]:
        """Of GoCardless, while both secrets were in use."""
        return self._late.books, self._next.books

    @property
    def trapped(self) -> int:
        """Connections to where nobody may call."""
        return self._trap.connections

    @property
    def fetches_too_many(self) -> int:
        """Keys that the node fetched, less those that it was given."""
        fetched = sum(count for name, count in self._ground.metrics().items() if name.startswith(_FETCHES))
        return round(fetched) - self._keys.calls

    def delivered(self) -> int:
        """Events that their senders take for delivered."""
        senders = (self._first, self._late, self._next, self._cornerstone, self._connectwise)
        return sum(sender.books.delivered for sender in senders) + len(self._sent)

    def compare(self) -> Mapping[str, Mapping[str, int]]:
        """Of each sender: genuine events, those of them that are not there exactly once, and others."""
        gocardless = [self._first.books, self._early.books, self._late.books, self._next.books]
        expected = {
            "gocardless": (self.gocardless, [digest for books in gocardless for digest in _digests(books)]),
            "standard-webhooks": (self.signed, [digest_of(EVENT_TYPE.encode(), each.body) for each in self._sent]),
            "cornerstone": (self.cornerstone, _digests(self._cornerstone.books)),
            "connectwise": (self.connectwise, _digests(self._connectwise.books)),
        }
        found = {}
        for name, (door, digests) in expected.items():
            there = contents(self._ground, door.inbox)
            found[name] = {
                "genuine": len(digests),
                "not_once": sum(there[digest] != 1 for digest in digests),
                "strangers": len(there.keys() - set(digests)),
            }
        return found

    # -- inside -----------------------------------------------------------------------------------------

    @property
    def _allowed(self) -> str:
        """Where ConnectWise's keys may be fetched."""
        return f"localhost:{self._keys.port}"

    async def _open(self) -> None:
        await self._trap.__aenter__()
        await self._keys.__aenter__()
        self._connectwise.keys_at = self._stranger.keys_at = f"https://{self._allowed}"

    async def _close(self) -> None:
        self._wire.close()
        await self._trap.__aexit__()
        await self._keys.__aexit__()

    def _door(self, provider: str, secret: str) -> Door:
        entrance = self._ground.add_source(provider, secret)
        return Door(entrance, self._ground.add_endpoint(provider, ["*"], sources=[entrance.source]))

    def _sender(self, secret: str, *, speed: float = 1.0) -> GoCardless:
        # Of the same seed all would say the same ids.
        pace = Pace(SystemClock(), speed=speed, seed=self._pace.chance.getrandbits(64))
        return GoCardless(self.gocardless.entrance.url, secret, wire=self._wire, pace=pace, events_per_request=BATCH)

    def _callbacks(self, company: str) -> ConnectWise:
        return ConnectWise(self.connectwise.entrance.url, company, wire=self._wire, pace=self._pace)

    def _genuine(self, secret: str) -> Request:
        """A request of GoCardless that it never sends."""
        return self._sender(secret).make(1).parcel.make(1)

    async def _send_signed(self) -> None:
        async for number in self._pace.due(self._events, RATE):
            del number
            request = self._signs.request(len(self._sent))
            if await self._post_one(request) not in _SUCCESS:
                raise DrillFailed("A genuine request was not taken.")
            self._sent.append(request)

    def _post(self, requests: Iterable[Request]) -> list[Result]:
        """What each of these is answered."""

        async def post() -> list[Result]:
            return [await self._post_one(request) for request in requests]

        return self._ground.run(post(), seconds_max=STEP_SECONDS_MAX, what="answers to forged requests")

    async def _post_one(self, request: Request) -> Result:
        answer = await self._wire.send(request, deadline_s=DEADLINE_S)
        return answer.status if isinstance(answer, Answer) else answer


def _digests(books: Books) -> list[bytes]:
    """Of all events that were sent."""
    return [entry.digest for entry in books.entries.values() if entry.first_sent_at is not None]
