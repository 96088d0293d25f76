"""Six senders that post to one node, each to a source of its own, with their true rules, for as long as they may."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self

from posthouse.drills.ground import Ground
from posthouse.drills.incoming import Watched
from posthouse.drills.receivers import Inbox
from posthouse.drills.receiving import Entrance
from posthouse.drills.senders.asana import Asana
from posthouse.drills.senders.autotask import Autotask
from posthouse.drills.senders.boldpenguin import BoldPenguin
from posthouse.drills.senders.books import Books
from posthouse.drills.senders.connectwise import ConnectWise
from posthouse.drills.senders.connectwise_api import key_server
from posthouse.drills.senders.cornerstone import Cornerstone
from posthouse.drills.senders.gocardless import GoCardless
from posthouse.drills.senders.local_server import LocalServer
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.tls import Authority
from posthouse.drills.senders.wire import Connections
from posthouse.providers.index import preset_named
from posthouse.system import SystemClock

LOCAL_NAME: Final = "localhost"  #: by which the node fetches keys from this machine
CONNECTIONS: Final = 64
ENDLESS: Final = 10**9  #: events; :meth:`Cast.stop` ends it before
BATCH: Final = 5  #: events in a request of those who batch, at most
_SECRET_DIGITS: Final = 32


Run = Callable[[float], Coroutine[Any, Any, None]]
_Played = tuple[Books, Run]


class EndingPace(Pace):
    """A sender's time, in which things happen until somebody says that it is enough."""

    has_ended = False

    async def due(self, total: int, rate: float, *, at_once: int = 1) -> AsyncIterator[int]:
        """As :meth:`Pace.due`, until it has ended."""
        async for number in super().due(total, rate, at_once=at_once):
            if self.has_ended:
                return
            yield number


class Player(NamedTuple):
    """One sender, and where its events go."""

    name: str
    entrance: Entrance
    inbox: Inbox
    wire: Watched
    pace: EndingPace
    books: Books
    run: Run  #: at this rate, until its pace has ended

    @property
    def overload(self) -> int:
        """The code that it has to be told when nothing can be taken."""
        return preset_named(self.name).answers.overload

    @property
    def comes_again(self) -> bool:
        """Whether it sends again whatever it was not told to have been taken, also if it was told nothing."""
        return preset_named(self.name).sender.retries_timeouts


class _Script(NamedTuple):
    """What a sender is made with."""

    url: str
    secret: str
    wire: Watched
    pace: EndingPace


class Part(NamedTuple):
    """How a sender is played."""

    make: Callable[[_Script], _Played]
    speed: float = 1.0  #: by which its waits are divided
    needs_secret: bool = True


def _gocardless(script: _Script) -> _Played:
    sender = GoCardless(script.url, script.secret, wire=script.wire, pace=script.pace, events_per_request=BATCH)
    return sender.books, lambda rate: sender.run(ENDLESS, rate)


def _asana(script: _Script) -> _Played:
    sender = Asana(script.url, wire=script.wire, pace=script.pace, events_per_request=BATCH)

    async def run(rate: float) -> None:
        await sender.shake_hands()
        await sender.run(ENDLESS, rate)

    return sender.books, run


def _cornerstone(script: _Script) -> _Played:
    sender = Cornerstone(script.url, script.secret, wire=script.wire, pace=script.pace, records_per_request=BATCH)
    return sender.books, lambda rate: sender.run(fresh=ENDLESS, fresh_rate=rate)


def _autotask(script: _Script) -> _Played:
    sender = Autotask(script.url, script.secret, wire=script.wire, pace=script.pace)
    return sender.books, lambda rate: sender.run(ENDLESS, rate)


def _boldpenguin(script: _Script) -> _Played:
    sender = BoldPenguin(script.url, script.secret, wire=script.wire, pace=script.pace)
    return sender.books, lambda rate: sender.run(ENDLESS, rate)


#: All but ConnectWise, whose keys have to be served besides; its waits are short as they are.
PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        "gocardless": Part(_gocardless, speed=120.0),
        "asana": Part(_asana, speed=40.0, needs_secret=False),  # it says its secret when it shakes hands
        "cornerstone": Part(_cornerstone, speed=40.0),
        "autotask": Part(_autotask, speed=4.0),
        "boldpenguin": Part(_boldpenguin, speed=30.0),
    }
)
CONNECTWISE: Final = "connectwise"


class Cast:
    """Everybody who sends; for the main thread. They run on the drill's background loop, and end when this is left.

    Args:
        ground: whose node gets it all; it trusts ``authority``.
        authority: vouches for the server of ConnectWise's keys.
        seed: of everything random.
    """

    def __init__(self, ground: Ground, authority: Authority, *, seed: int) -> None:
        self._ground = ground
        self._authority = authority
        self._seed = seed
        self._connections = Connections(CONNECTIONS)
        self._keys: LocalServer | None = None
        self.players: list[Player] = []

    def __enter__(self) -> Self:
        self.players = [self._player(name, part) for name, part in PARTS.items()]
        connectwise = self._player(CONNECTWISE, Part(self._connectwise))
        self.players.append(connectwise)
        assert self._keys is not None, "they are served"
        with self._ground.client() as client:
            client.patch(
                f"/v1/sources/{connectwise.entrance.source}", {"key_hosts": [f"{LOCAL_NAME}:{self._keys.port}"]}
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._ground.background.run(self._close())

    def delivered(self) -> int:
        """Events that their senders take for delivered."""
        return sum(player.books.delivered for player in self.players)

    def stop(self) -> None:
        """Let nothing more happen; what happened is sent until it is delivered or lost."""
        for player in self.players:
            player.pace.has_ended = True

    async def play(self, rate: float) -> None:
        """Send so many events a second each, until :meth:`stop`; returns when all are settled."""
        async with asyncio.TaskGroup() as group:
            for player in self.players:
                group.create_task(player.run(rate))

    async def _close(self) -> None:
        self._connections.close()
        if self._keys is not None:
            await self._keys.__aexit__()

    def _player(self, name: str, part: Part) -> Player:
        pace = EndingPace(SystemClock(), speed=part.speed, seed=self._seed)
        secret = pace.hex(_SECRET_DIGITS)
        entrance = self._ground.add_source(name, secret if part.needs_secret else "")
        wire = Watched(self._connections)
        inbox = self._ground.add_endpoint(name, ["*"], sources=[entrance.source])
        books, run = part.make(_Script(entrance.url, secret, wire, pace))
        return Player(name, entrance, inbox, wire, pace, books, run)

    def _connectwise(self, script: _Script) -> _Played:
        sender = ConnectWise(script.url, script.secret, wire=script.wire, pace=script.pace)
        self._keys = key_server(sender, self._authority, pace=script.pace)
        self._ground.background.run(self._keys.__aenter__())
        sender.keys_at = f"https://{LOCAL_NAME}:{self._keys.port}"
        return sender.books, lambda rate: sender.run(ENDLESS, rate)
