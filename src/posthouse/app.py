"""A node as a process, or several: opens what it needs, listens, obeys signals, ends cleanly or at once."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from posthouse import __version__
from posthouse.assembly import Assembled, Machine, assemble
from posthouse.config import Config
from posthouse.core.errors import ConfigurationError, PosthouseError
from posthouse.lives import Lives
from posthouse.node import Node
from posthouse.serving.server import ApiServer
from posthouse.store.protocol import Store
from posthouse.store.sqlite.lock import DirectoryLock
from posthouse.store.sqlite.store import LOCK
from posthouse.supervisor import Berth, Supervisor, in_a_process, not_to_be_had, reserve
from posthouse.telemetry import Log, configure_logging, log

API_KEY_FILE: Final = "api_key"
NODE_FILE: Final = "node.json"
EXIT_FAILED: Final = 1


def run(config: Config, machine: Machine | None = None) -> int:
    """Run a node until a signal ends it; the exit code. Blocks.

    SIGTERM and SIGINT drain: what is on its way is settled, then the slots are released. A second
    signal cuts that short; nothing acknowledged is lost by it either.

    With ``config.processes`` there are several nodes, which share the port and the store; each is a process.
    """
    configure_logging(config.log_level, config.log_format)
    if config.processes > 1:
        return _run_several(config)
    return _run(lambda: _serve_alone(config, machine or Machine()))


def _run(work: Callable[[], Coroutine[None, None, int]]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(work())
        except PosthouseError as error:
            log(Log.NODE_FAILED, code=error.code, detail=error.message, hint=error.advice)
            return EXIT_FAILED


def _run_several(config: Config) -> int:
    """Run as many nodes as ``config.processes`` says."""
    try:
        with _place(config) as lives, _port(config) as port:
            return _supervise(config.model_copy(update={"port": port}), lives)
    except PosthouseError as error:
        log(Log.NODE_FAILED, code=error.code, detail=error.message, hint=error.advice)
        return EXIT_FAILED


def _supervise(config: Config, lives: Lives) -> int:
    gc.freeze()  # what all have in common is never looked at again, and stays one copy
    # What happens once is done by a process that has ended before the others begin: it makes the store, or brings it up
    # to date, makes the first API key, and lets nobody wait for nodes that have died.
    if code := in_a_process(lambda: _run(lambda: _prepare(config, lives))):
        return code

    def work(berth: Berth) -> int:
        former = [] if berth.process_before is None else lives.names(process=berth.process_before)
        return _run(lambda: _serve(config, Machine(), lives, former, berth))

    supervisor = Supervisor(config.processes, work, ready=lambda: _announce(config, _url(config.host, config.port)))
    try:
        return supervisor.run()
    finally:
        (config.data / NODE_FILE).unlink(missing_ok=True)


async def _prepare(config: Config, lives: Lives) -> int:
    """Do what one node does for all of them."""
    assembled = await assemble(config.model_copy(update={"processes": 1}), Machine())
    former = lives.names()
    try:
        keep_first_key = partial(_write_private, config.data / API_KEY_FILE)
        await assembled.node.prepare_for_others(keep_first_key=keep_first_key, former=former)
        lives.end(former)
    finally:
        await assembled.close()
    return 0


@contextmanager
def _place(config: Config) -> Iterator[Lives]:
    """The data directory of a node. Where the store is not in it, nobody else may run on it all the same.

    Raises:
        StoreInUse: Somebody does.
        ConfigurationError: It cannot be made.
    """
    if config.database is None:  # else the store makes it, and locks it
        yield Lives(config.data)
        return
    _make_private_directory(config.data)
    lock = DirectoryLock(config.data / LOCK)
    try:
        yield Lives(config.data)
    finally:
        lock.release()


@contextmanager
def _port(config: Config) -> Iterator[int]:
    """The port that all processes share, kept for them. Raises ConfigurationError."""
    kept, port = reserve(config.host, config.port)
    with kept:
        yield port


async def _serve_alone(config: Config, machine: Machine) -> int:
    with _place(config) as lives:
        return await _serve(config, machine, lives, lives.names())


async def _serve(
    config: Config, machine: Machine, lives: Lives, former: Sequence[str], berth: Berth | None = None
) -> int:
    """Run one node until it is told to stop.

    ``former`` are the names of those ``lives`` on its data directory whose place it takes, and which have ended;
    ``berth`` is given to one of several.
    """
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    if berth is not None:
        _end_with_supervisor(berth, signals)
    assembled = await _assembled(config, machine, signals)
    if assembled is None:
        return 0
    node, server = assembled.node, assembled.server
    try:
        lives.begin(node.name)
        await node.start(keep_first_key=partial(_write_private, config.data / API_KEY_FILE), former=former)
        lives.end(former)
        url = _url(config.host, await _listen(server, config, berth))
        await node.listens_at(url)
        log(Log.NODE_STARTED, url=url, data=str(config.data), version=__version__)
        if berth is None:
            _announce(config, url)
        else:
            berth.ready()
        # What was made until now lives as long as the process: keep the collector from walking it.
        gc.collect()
        gc.freeze()
        return await _until_the_end(node, server, assembled.store, signals)
    finally:
        if berth is None:
            (config.data / NODE_FILE).unlink(missing_ok=True)
        await assembled.close()


async def _listen(server: ApiServer, config: Config, berth: Berth | None) -> int:
    """Listen where requests come, one of several processes also where only it does; the port by which it is known.

    Raises ConfigurationError.
    """
    try:
        port = await server.start(config.host, config.port, shared=berth is not None)
    except OSError as error:
        raise not_to_be_had(config.host, config.port, error) from error
    if berth is None or not config.process_port:
        return port
    own = config.process_port + berth.number - 1
    try:
        return await server.start(config.host, own)
    except OSError as error:
        raise not_to_be_had(config.host, own, error, hint="Choose another --process-port.") from error


def _announce(config: Config, url: str) -> None:
    """Let people and commands know where the API is."""
    _write_private(config.data / NODE_FILE, msgspec.json.encode({"url": url, "pid": os.getpid()}).decode())
    several = "" if config.processes == 1 else f" with {config.processes} processes"
    print(f"Posthouse listens on {url}{several}; {_where_keys_are(config.data / API_KEY_FILE)}.", flush=True)  # noqa: T201


def _end_with_supervisor(berth: Berth, signals: asyncio.Queue[signal.Signals]) -> None:
    """When nobody is there any more who would pass signals on, that counts as one."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(berth.alive)
        signals.put_nowait(signal.SIGTERM)

    loop.add_reader(berth.alive, ended)


async def _assembled(config: Config, machine: Machine, signals: asyncio.Queue[signal.Signals]) -> Assembled | None:
    """The node with its store open, which may have to be waited for; None if a signal came meanwhile."""
    opening = asyncio.ensure_future(assemble(config, machine))
    stopped = asyncio.ensure_future(signals.get())
    await asyncio.wait((opening, stopped), return_when=asyncio.FIRST_COMPLETED)
    if opening.done():
        if stopped.done():
            signals.put_nowait(stopped.result())
        stopped.cancel()
        return opening.result()
    log(Log.NODE_STOPPING, signal=stopped.result().name)
    opening.cancel()
    await asyncio.wait([opening])
    if not opening.cancelled() and opening.exception() is None:
        await opening.result().close()
    log(Log.NODE_STOPPED)
    return None


async def _until_the_end(node: Node, server: ApiServer, store: Store, signals: asyncio.Queue[signal.Signals]) -> int:
    """Wait for a signal or for the store to fail; then stop as that demands."""
    first = asyncio.ensure_future(signals.get())
    await asyncio.wait((first, store.failed), return_when=asyncio.FIRST_COMPLETED)
    if store.failed.done():
        # The outcome of the last commit is unknown. Only a new process that reads the disk knows more.
        log(Log.STORE_FAILED, detail=store.failed.result())
        first.cancel()
        await server.stop(grace_seconds=0)
        return EXIT_FAILED
    log(Log.NODE_STOPPING, signal=first.result().name)
    node.drain()
    stopping = asyncio.ensure_future(_stop(node, server))
    second = asyncio.ensure_future(signals.get())
    await asyncio.wait((stopping, second), return_when=asyncio.FIRST_COMPLETED)
    second.cancel()
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait([stopping])
        return 128 + signal.SIGTERM
    stopping.result()
    log(Log.NODE_STOPPED)
    return 0


async def _stop(node: Node, server: ApiServer) -> None:
    await server.stop(grace_seconds=5)
    await node.stop()


def _where_keys_are(key_file: Path) -> str:
    if key_file.exists():
        return f"the API key is in {key_file}"
    return "the store has its API keys already"  # another node made them, or another data directory has the file


def _make_private_directory(path: Path) -> None:
    """Make a directory that only its owner may enter, unless it is there."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        message = f"The data directory {path} cannot be made: {error.strerror}."
        raise ConfigurationError(message, hint="Name another one with --data.") from error


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all, durable."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)  # the name must survive a power cut as well
    finally:
        os.close(directory)


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{port}"
