"""A node as a process: opens what it needs, listens, obeys signals, ends cleanly or at once."""

import asyncio
import gc
import os
import signal
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from posthouse import __version__
from posthouse.assembly import Assembled, Machine, assemble
from posthouse.config import Config
from posthouse.core.errors import ConfigurationError, PosthouseError
from posthouse.node import Node
from posthouse.serving.server import ApiServer
from posthouse.store.protocol import Store
from posthouse.telemetry import Log, configure_logging, log

API_KEY_FILE: Final = "api_key"
NODE_FILE: Final = "node.json"
EXIT_FAILED: Final = 1


def run(config: Config, machine: Machine | None = None) -> int:
    """Run a node until a signal ends it; the exit code. Blocks.

    SIGTERM and SIGINT drain: what is on its way is settled, then the slots are released. A second
    signal cuts that short; nothing acknowledged is lost by it either.
    """
    configure_logging(config.log_level, config.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(_serve(config, machine or Machine()))
        except PosthouseError as error:
            log(Log.NODE_FAILED, code=error.code, detail=error.message, hint=error.advice)
            return EXIT_FAILED


async def _serve(config: Config, machine: Machine) -> int:
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    if config.database is not None:  # else the store makes it, and is what lies in it
        _make_private_directory(config.data)
    assembled = await _assembled(config, machine, signals)
    if assembled is None:
        return 0
    node, server = assembled.node, assembled.server
    try:
        await node.start(keep_first_key=partial(_write_private, config.data / API_KEY_FILE))
        try:
            port = await server.start(config.host, config.port)
        except OSError as error:
            message = f"Posthouse cannot listen on {config.host}, port {config.port}: {error.strerror or error}."
            raise ConfigurationError(
                message, hint="Choose another --port or --host; port 0 takes a free one."
            ) from error
        url = _url(config.host, port)
        _write_private(config.data / NODE_FILE, msgspec.json.encode({"url": url, "pid": os.getpid()}).decode())
        await node.listens_at(url)
        log(Log.NODE_STARTED, url=url, data=str(config.data), version=__version__)
        print(f"Posthouse listens on {url}; {_where_keys_are(config.data / API_KEY_FILE)}.", flush=True)  # noqa: T201
        # What was made until now lives as long as the process: keep the collector from walking it.
        gc.collect()
        gc.freeze()
        return await _until_the_end(node, server, assembled.store, signals)
    finally:
        (config.data / NODE_FILE).unlink(missing_ok=True)
        await assembled.close()


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
