"""``posthouse simulate``: send what a real sender would, and see what it would lose."""

import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.output import Output
from posthouse.cli.reading import usage
from posthouse.cli.session import local_command

if TYPE_CHECKING:
    from posthouse.drills.senders.books import Books
    from posthouse.drills.senders.index import Order

app = typer.Typer(add_completion=False, rich_markup_mode=None)

LIST: Final = "list"
PLAIN_SECONDS: Final = 3.0  #: between two lines of progress
SEED_MAX: Final = 1_000_000
_URL: Final = re.compile(r"[!-~]{1,4096}")
_SECRET: Final = re.compile(r"[!-~]+(?: [!-~]+)*")  #: some are sent in a header
_TYPE: Final = re.compile(r"[A-Za-z0-9_.:/-]{1,100}")
_PLACE: Final = re.compile(r"([^:\s]+):([0-9]{1,5})")


@app.command()
@local_command
def simulate(
    out: Output,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME|list", help="Which sender, such as cornerstone; or list.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="The receiver: any, or a source of a node.")] = "",
    secret: Annotated[
        str, typer.Option(help="What the sender proves itself with; of connectwise the company id.", show_default=False)
    ] = "",
    events: Annotated[int, typer.Option(min=0, help="How many to send.")] = 100,
    rate: Annotated[float, typer.Option(min=0.001, help="Of them in a second.")] = 10.0,
    speed: Annotated[
        float, typer.Option(min=0.001, help="Divides waits for retries, heartbeats and spans; not deadlines.")
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option(help="Of everything random: ids, contents, jitter.  [default: another each time]")
    ] = None,
    connections: Annotated[int, typer.Option(min=1, max=1_000, help="Requests on their way at once.")] = 8,
    types: Annotated[str | None, typer.Option(metavar="A,B", help="Types of events, in turn.")] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=1_000, help="Events in a request: cornerstone, asana, gocardless.")
    ] = None,
    old: Annotated[
        int | None, typer.Option(min=0, help="Records up to 71 h old to replay besides: cornerstone.")
    ] = None,
    tier: Annotated[
        str | None, typer.Option(help="How often it retries: starter, small, medium, large; cornerstone.")
    ] = None,
    escapes: Annotated[
        bool, typer.Option("--escapes", help="Sign the text as it was before it was made readable: autotask.")
    ] = False,
    keys: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to serve the signing keys: connectwise.")
    ] = None,
    keys_ca: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="Where to write who vouches for that server: connectwise.")
    ] = None,
) -> Exit:
    """Send what a real sender would send, as it would, and see what it would lose.

    Retries, deadlines, batches and signatures are those of the real one. Ends when every event is delivered or
    given up, with exit code 1 if one was not delivered.
    """
    if name == LIST:
        _list(out)
        return Exit.OK
    host, port = _place(keys) if keys is not None else (None, None)
    special = {
        "batch": batch,
        "old": old,
        "tier": None if tier is None else _tier(tier),
        "escapes": escapes or None,
        "keys_host": host,
        "keys_port": port,
        "keys_ca": keys_ca,
    }
    wanted = {key: value for key, value in special.items() if value is not None}
    chosen = tuple(part.strip() for part in (types or "").split(",") if part.strip())
    order = _order(name, wanted, url=url, secret=secret, events=events, rate=rate, types=chosen or None)
    seed = secrets.randbelow(SEED_MAX) if seed is None else seed
    return _play(out, name, order, speed=speed, seed=seed, connections=connections)


def _play(out: Output, name: str, order: "Order", *, speed: float, seed: int, connections: int) -> Exit:
    from posthouse.demo.node_process import end_on_signals  # noqa: PLC0415 - help must not wait for it
    from posthouse.drills.plan import DrillFailed  # noqa: PLC0415
    from posthouse.drills.senders.index import SENDERS, play  # noqa: PLC0415

    show = _Progress(out)
    exit_code = None
    end_on_signals()
    try:
        play(SENDERS[name], order, show, speed=speed, seed=seed, connections=connections)
    except DrillFailed as error:
        raise Failure(Exit.FAILED, "simulation_failed", str(error)) from error
    except KeyboardInterrupt:
        exit_code = Exit.INTERRUPTED
    if show.books is None:
        return Exit.INTERRUPTED
    _print_books(out, show.books, name, order.url, seed)
    if exit_code is None:
        exit_code = Exit.OK if show.books.totals().is_complete else Exit.FAILED
    return exit_code


class _Progress:
    """One line every few seconds, on stderr."""

    def __init__(self, out: Output) -> None:
        self.books: Books | None = None  #: once there are any
        self._out = out
        self._said = time.monotonic()

    def __call__(self, books: "Books") -> None:
        self.books = books
        now = time.monotonic()
        if now - self._said >= PLAIN_SECONDS:
            self._said = now
            totals = books.totals()
            numbers = (("sent", totals.sent), ("delivered", totals.delivered), ("retrying", totals.retrying))
            self._out.note("  ".join(f"{number:,} {word}" for word, number in (*numbers, ("lost", totals.lost))))


def _print_books(out: Output, books: "Books", name: str, url: str, seed: int) -> None:
    from posthouse.drills.senders.books import Fate  # noqa: PLC0415 - help must not wait for it

    numbers = books.totals().document()
    if out.as_json:
        rest = {str(fate): books.named(fate) for fate in Fate if fate is not Fate.DELIVERED}
        out.document({"sender": name, "url": url, "seed": seed, **numbers, "not_delivered": rest})
        return
    codes = numbers.pop("codes")
    out.facts([("sender", name), ("url", url), ("seed", str(seed))])
    out.line()
    out.table(("what", "#count"), list(numbers.items()))
    out.line()
    out.table(("answer", "#requests"), list(codes.items()))


def _order(name: str, wanted: Mapping[str, Any], **common: Any) -> "Order":
    """The order, if this sender understands it."""
    from posthouse.drills.senders.index import SENDERS, Order  # noqa: PLC0415 - help must not wait for it
    from posthouse.providers.index import PRESETS  # noqa: PLC0415

    kind = SENDERS.get(name)
    if kind is None:
        raise usage(f"There is no simulated sender {name}. There are {', '.join(SENDERS)}.")
    strange = sorted(wanted.keys() - kind.options)
    if strange:
        flag = strange[0].removesuffix("_host").removesuffix("_port").replace("_", "-")
        raise usage(f"--{flag} says nothing to {name}.")
    if not _is_url(common["url"]):
        raise usage("Name the receiver: a URL such as http://127.0.0.1:8400/in/TOKEN.")
    if kind.needs_secret and not common["secret"]:
        help_ = PRESETS[name].secret_help
        raise Failure(Exit.USAGE, "usage", f"{name} needs a --secret: the one that its receiver knows.", hint=help_)
    if common["secret"] and _SECRET.fullmatch(common["secret"]) is None:
        raise usage("A secret is made of visible ASCII characters.")
    if not all(_TYPE.fullmatch(each) for each in common["types"] or ()):
        raise usage("A type is made of letters, digits and _ . : / -.")
    return Order(**common, **wanted)


def _list(out: Output) -> None:
    from posthouse.drills.senders.index import SENDERS  # noqa: PLC0415 - help must not wait for it
    from posthouse.providers.index import PRESETS  # noqa: PLC0415

    rows = [(name, PRESETS[name].title, kind.needs_secret) for name, kind in SENDERS.items()]
    if out.as_json:
        out.document({"data": [{"sender": name, "title": title, "secret": needs} for name, title, needs in rows]})
    else:
        out.table(("sender", "what it is", "--secret"), rows)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return _URL.fullmatch(text) is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _place(text: str) -> tuple[str, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise usage("A place looks like 127.0.0.1:8443.")
    return found[1], int(found[2])


def _tier(text: str) -> Any:
    from posthouse.drills.senders.cornerstone import Tier  # noqa: PLC0415 - help must not wait for it

    try:
        return Tier(text.lower())
    except ValueError:
        raise usage(f"There is no tier {text}. There are {', '.join(Tier)}.") from None
