"""Every simulated sender by its name, and how one is played from beginning to end."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from posthouse.drills.plan import DrillFailed
from posthouse.drills.senders import asana, autotask, boldpenguin, connectwise, cornerstone, gocardless
from posthouse.drills.senders.books import Books, Fate
from posthouse.drills.senders.connectwise_api import key_server
from posthouse.drills.senders.local_server import LOOPBACK
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.tls import Authority
from posthouse.drills.senders.wire import Connections, Wire
from posthouse.system import SystemClock

OLDEST_S: Final = cornerstone.RETENTION_S - 3_600  #: of what Cornerstone replays
KEYS_SECONDS_MAX: Final = 10.0  #: for so long after the last callback its keys can be fetched
SHOW_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.1


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate. What is None is up to the sender."""

    url: str
    secret: str = ""
    events: int = 100
    rate: float = 10.0  #: events a second
    types: tuple[str, ...] | None = None
    batch: int | None = None  #: events in a request, at most
    old: int = 0  #: records that are replayed besides; of Cornerstone
    tier: cornerstone.Tier = cornerstone.Tier.LARGE  #: of Cornerstone
    escapes: bool = False  #: of Autotask
    keys_host: str = LOOPBACK  #: where ConnectWise's keys are served
    keys_port: int = 0
    keys_ca: Path | None = None  #: file for the certificate of the authority that vouches for that server


Begun = Callable[[Books], None]  #: called once, with the books of what has begun


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One sender: how it is played, and what an order may say to it besides what all understand."""

    #: Sends all, and returns when everything is settled. Raises DrillFailed if it cannot begin.
    play: Callable[[Order, Wire, Pace, Begun], Awaitable[None]]
    needs_secret: bool = True
    options: frozenset[str] = frozenset()  #: fields of the order


async def _cornerstone(order: Order, wire: Wire, pace: Pace, begun: Begun) -> None:
    sender = cornerstone.Cornerstone(
        order.url,
        order.secret,
        wire=wire,
        pace=pace,
        tier=order.tier,
        records_per_request=order.batch or cornerstone.RECORDS_PER_REQUEST,
        types=order.types or cornerstone.TYPES,
    )
    begun(sender.books)
    sender.log(order.old, oldest_s=OLDEST_S)
    await sender.run(fresh=order.events, fresh_rate=order.rate)


async def _asana(order: Order, wire: Wire, pace: Pace, begun: Begun) -> None:
    sender = asana.Asana(
        order.url,
        wire=wire,
        pace=pace,
        types=order.types or asana.TYPES,
        events_per_request=order.batch or asana.EVENTS_PER_REQUEST,
    )
    await sender.shake_hands()
    begun(sender.books)
    await sender.run(order.events, order.rate)


async def _gocardless(order: Order, wire: Wire, pace: Pace, begun: Begun) -> None:
    sender = gocardless.GoCardless(
        order.url,
        order.secret,
        wire=wire,
        pace=pace,
        types=order.types or gocardless.TYPES,
        events_per_request=order.batch or gocardless.EVENTS_PER_REQUEST,
    )
    begun(sender.books)
    await sender.run(order.events, order.rate)


async def _connectwise(order: Order, wire: Wire, pace: Pace, begun: Begun) -> None:
    sender = connectwise.ConnectWise(
        order.url, order.secret, wire=wire, pace=pace, types=order.types or connectwise.TYPES
    )
    authority = Authority()
    try:
        if order.keys_ca is not None:
            order.keys_ca.write_bytes(authority.pem)
        async with key_server(sender, authority, pace=pace, host=order.keys_host, port=order.keys_port) as keys:
            sender.keys_at = keys.url
            begun(sender.books)
            await sender.run(order.events, order.rate)
            await _until_fetched(sender)
    except OSError as error:
        raise DrillFailed(f"The keys cannot be served: {error}.") from error


async def _until_fetched(sender: connectwise.ConnectWise) -> None:
    """Wait a little for a receiver that fetches keys only after its answer."""
    delivered = len(sender.books.named(Fate.DELIVERED))
    try:
        async with asyncio.timeout(KEYS_SECONDS_MAX):
            while sum(key.fetched > 0 for key in sender.keys.values()) < delivered:  # noqa: ASYNC110 - plain numbers
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        return


async def _autotask(order: Order, wire: Wire, pace: Pace, begun: Begun) -> None:
    types = order.types or autotask.TYPES
    sender = autotask.Autotask(order.url, order.secret, wire=wire, pace=pace, types=types, escapes=order.escapes)
    begun(sender.books)
    await sender.run(order.events, order.rate)


async def _boldpenguin(order: Order, wire: Wire, pace: Pace, begun: Begun) -> None:
    types = order.types or boldpenguin.TYPES
    sender = boldpenguin.BoldPenguin(order.url, order.secret or None, wire=wire, pace=pace, types=types)
    begun(sender.books)
    await sender.run(order.events, order.rate)


SENDERS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "cornerstone": Kind(play=_cornerstone, options=frozenset({"batch", "old", "tier"})),
        "asana": Kind(play=_asana, needs_secret=False, options=frozenset({"batch"})),
        "gocardless": Kind(play=_gocardless, options=frozenset({"batch"})),
        "connectwise": Kind(play=_connectwise, options=frozenset({"keys_host", "keys_port", "keys_ca"})),
        "autotask": Kind(play=_autotask, options=frozenset({"escapes"})),
        "boldpenguin": Kind(play=_boldpenguin, needs_secret=False),
    }
)


def play(kind: Kind, order: Order, show: Callable[[Books], None], *, speed: float, seed: int, connections: int) -> None:
    """Play one sender to its end, on an event loop of its own. Raises DrillFailed if it cannot begin.

    ``show`` is called with its books when it has begun, and now and then until it ends.
    """

    async def played() -> None:
        wire = Connections(connections)
        shown: list[asyncio.Task[None]] = []

        def begun(books: Books) -> None:
            shown.append(asyncio.create_task(_keep_showing(books, show)))

        try:
            await kind.play(order, wire, Pace(SystemClock(), speed=speed, seed=seed), begun)
        finally:
            for task in shown:
                task.cancel()
            wire.close()

    asyncio.run(played())


async def _keep_showing(books: Books, show: Callable[[Books], None]) -> None:
    while True:
        show(books)
        await asyncio.sleep(SHOW_SECONDS)
