"""Several processes of one node program on one machine: started together, kept alive, ended together.

The supervisor forks before anything is opened, so that its children share what was imported and nothing else. It is
one thread that waits for signals and for the ends of pipes:

- each child holds the only writing end of a pipe: a byte says that it is ready, the end of the pipe that it has died;
- the supervisor holds the only writing end of another one: its end tells the children that the supervisor has died.

POSIX only, like the locks of the store.
"""

import errno
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from posthouse.core.errors import ConfigurationError
from posthouse.telemetry import Log, log

AGAIN_SECONDS_MAX: Final = 30.0  #: between the death of a process that dies again and again and the next one
STEADY_SECONDS: Final = 60.0  #: who lived for so long did not die of how it was started
_FIRST_PAUSE: Final = 1.0
_READY: Final = b"r"
_FAILED: Final = 1
_BY_SIGNAL: Final = 128


@dataclass(frozen=True, slots=True)
class Berth:
    """What one of several processes gets from its supervisor."""

    number: int  #: from 1
    alive: int  #: descriptor that comes to its end when the supervisor has died; readable only then
    process_before: int | None  #: id of the process that had this berth before, and is dead

    # The descriptor of the pipe by which this one tells that it is ready.
    _telling: int

    def ready(self) -> None:
        """Tell the supervisor that this process listens. Call it once."""
        os.write(self._telling, _READY)


@dataclass(slots=True)
class _Child:
    number: int
    process: int  #: its id
    pipe: int
    born_at: float
    is_ready: bool = False


class Supervisor:
    """Keeps ``count`` processes alive, each of which runs ``work``, until a signal ends all of them.

    SIGTERM and SIGINT are passed on as SIGTERM, each time that one comes. A process that dies although nobody asked is
    replaced, at once or after a pause that doubles while it dies young. If one ends before all were ready for the first
    time, all are ended: how they were started is wrong.

    Args:
        work: what a process does; its exit code. It runs in a fork, with default signal handlers, in a process group of
            its own, so that a Ctrl-C reaches it through the supervisor only.
        ready: called once, when all are ready for the first time.
    """

    def __init__(self, count: int, work: Callable[[Berth], int], *, ready: Callable[[], None]) -> None:
        self._count = count
        self._work = work
        self._ready = ready
        self._children: dict[int, _Child] = {}  #: by descriptor of their pipe
        self._before: dict[int, int] = {}  #: number → process that died
        self._due: dict[int, float] = {}  #: number → when the next process is started
        self._pauses: dict[int, float] = {}
        self._was_ready = False
        self._is_stopping = False
        self._code = 0
        self._selector = selectors.DefaultSelector()
        self._alive: tuple[int, int] = (-1, -1)

    def run(self) -> int:
        """Run them to the end; the exit code: 0, or that of the first one that did not end well. Blocks."""
        self._alive = os.pipe()
        signals, told = socket.socketpair()
        signals.settimeout(0)
        told.settimeout(0)
        numbers = (signal.SIGTERM, signal.SIGINT)
        old_handlers = {number: signal.signal(number, _noted) for number in numbers}
        old_wakeup = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        self._selector.register(signals, selectors.EVENT_READ, data=None)
        try:
            for number in range(1, self._count + 1):
                self._start(number)
            while self._children or (self._due and not self._is_stopping):
                self._turn(signals)
        finally:
            signal.set_wakeup_fd(old_wakeup)
            for number, handler in old_handlers.items():
                signal.signal(number, handler)
            self._selector.close()
            for end in (signals, told):
                end.close()
            for descriptor in self._alive:
                os.close(descriptor)
        return self._code

    def _turn(self, signals: socket.socket) -> None:
        """Wait for whatever comes next, and see to it."""
        next_at = min(self._due.values(), default=None)
        timeout = None if next_at is None else max(0.0, next_at - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                for _each in signals.recv(64):
                    self._stop()
            else:
                self._hear(key.data)
        now = time.monotonic()
        for number in [number for number, at in self._due.items() if at <= now]:
            del self._due[number]
            self._start(number)

    # -- beginnings -----------------------------------------------------------------------------

    def _start(self, number: int) -> None:
        listening, telling = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            self._be(Berth(number, self._alive[0], self._before.get(number), telling), listening)
        os.close(telling)
        child = _Child(number, process, listening, time.monotonic())
        self._children[listening] = child
        self._selector.register(listening, selectors.EVENT_READ, data=child)

    def _be(self, berth: Berth, listening: int) -> NoReturn:
        """The life of a child, from the fork to its end."""

        def work() -> int:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.setpgid(0, 0)
            self._selector.close()
            for descriptor in (listening, self._alive[1], *self._children):
                os.close(descriptor)
            return self._work(berth)

        _live(work)

    def _all_ready(self) -> bool:
        return sum(child.is_ready for child in self._children.values()) == self._count

    # -- ends -----------------------------------------------------------------------------------

    def _hear(self, child: _Child) -> None:
        if os.read(child.pipe, 1):
            child.is_ready = True
            if not self._was_ready and self._all_ready():
                self._was_ready = True
                self._ready()
            return
        self._selector.unregister(child.pipe)
        os.close(child.pipe)
        del self._children[child.pipe]
        code = _exit_code(child.process)
        if self._is_stopping:
            self._code = self._code or code
            return
        self._before[child.number] = child.process
        if not self._was_ready:
            self._code = code or _FAILED
            self._stop()
            return
        lived = time.monotonic() - child.born_at
        pause = 0.0 if lived >= STEADY_SECONDS else self._pauses.get(child.number, 0.0)
        self._pauses[child.number] = min(AGAIN_SECONDS_MAX, max(_FIRST_PAUSE, 2 * pause))
        self._due[child.number] = time.monotonic() + pause
        log(Log.PROCESS_DIED, number=child.number, pid=child.process, code=code, seconds=pause)

    def _stop(self) -> None:
        self._is_stopping = True
        self._due.clear()
        for child in self._children.values():
            try:
                os.kill(child.process, signal.SIGTERM)
            except ProcessLookupError:
                continue  # it has ended, and the end of its pipe is heard next


def in_a_process(work: Callable[[], int]) -> int:
    """Run ``work`` in a fork, and wait for its end: its exit code, or 128 and the signal that ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        _live(work)
    return _exit_code(process)


def _live(work: Callable[[], int]) -> NoReturn:
    """Do the work and end the process, whatever happens."""
    code = _FAILED
    try:
        code = work()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - whatever it was, it ends here and not in the code of who forked
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def reserve(host: str, port: int) -> tuple[socket.socket, int]:
    """Keep a TCP port for several processes that will listen on it; port 0 takes a free one.

    The socket does not listen. While it is open only those get the port who ask for sharing it, as the same user.

    Returns:
        The socket, to be closed at the end, and the port.

    Raises:
        ConfigurationError: The address is in use, or cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        kept = socket.socket(family, kind, protocol)
    except OSError as error:
        raise not_to_be_had(host, port, error) from error
    try:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
    except OSError as error:
        kept.close()
        raise not_to_be_had(host, port, error) from error
    if _is_listened_on(kept):
        kept.close()
        raise not_to_be_had(host, port, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
    return kept, kept.getsockname()[1]


def _is_listened_on(kept: socket.socket) -> bool:
    """Whether processes that share their ports listen there already: they would get some of the connections."""
    with socket.socket(kept.family, kept.type) as alone:
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        alone.settimeout(1.0)
        return alone.connect_ex(_reachable(kept.getsockname())) == 0


def _reachable(address: tuple[str | int, ...]) -> tuple[str | int, ...]:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(str(address[0]), address[0])  # noqa: S104
    return (host, *address[1:])


def not_to_be_had(
    host: str, port: int, error: OSError, *, hint: str = "Choose another --port or --host; port 0 takes a free one."
) -> ConfigurationError:
    """What to say to who cannot listen there."""
    return ConfigurationError(f"Posthouse cannot listen on {host}, port {port}: {error.strerror or error}.", hint=hint)


def _exit_code(process: int) -> int:
    """Wait for the end of a process whose pipe has come to its end: its exit code, or 128 and the signal."""
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else _BY_SIGNAL - code


def _noted(_number: int, _frame: object) -> None:
    """Leave a byte in the pipe of signals; that is all."""
