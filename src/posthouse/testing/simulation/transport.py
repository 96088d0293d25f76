"""What a protocol writes to and reads from: asyncio's transport on one end of a simulated connection."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from posthouse.testing.simulation.ends import End
from posthouse.testing.simulation.loop import Crash, SimLoop

_HIGH_WATER_BYTES: Final = 64 * 1024
_NOT_CAUGHT: Final = (SystemExit, KeyboardInterrupt, Crash)


class SimTransport(asyncio.Transport):
    """Behaves as asyncio's own socket transport does, down to when it calls what.

    Args:
        loop: the loop.
        end: of the connection.
        protocol: whose methods it calls, in the context of the end.
        sock: the socket that ``get_extra_info`` shows.

    Attributes:
        life: whose it is.
    """

    def __init__(self, loop: SimLoop, end: End, protocol: asyncio.BaseProtocol, sock: Any) -> None:
        super().__init__({"socket": sock, "sockname": end.name, "peername": end.peer.name})
        self.life = end.life
        self._loop = loop
        self._end = end
        self._protocol: Any = protocol
        self._buffer = bytearray()
        self._high, self._low = _HIGH_WATER_BYTES, _HIGH_WATER_BYTES // 4
        self._full = False  # the protocol was asked to pause
        self._reads = False  # connection_made was called, and the other side has not finished
        self._paused = False
        self._closing = False
        self._finished = False  # write_eof was called
        self._lost = False  # connection_lost was called, or is about to be

    def start(self, ready: asyncio.Future[None] | None = None) -> None:
        """Tell the protocol; then read, and set ``ready``. One after the other: a protocol that fails stops nothing."""
        self._end.reader = self
        self._loop.call_soon(self._protocol.connection_made, self, context=self._end.context)
        self._loop.call_soon(self._begin_to_read, ready, context=self._end.context)

    # -- what a protocol calls ------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """From now on call another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol that is called."""
        return self._protocol  # type: ignore[no-any-return]

    def is_closing(self) -> bool:
        """Whether it is closed, or will be once everything is written."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether it neither is paused nor closing."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Call ``data_received`` no more for now."""
        if self.is_reading():
            self._paused = True

    def resume_reading(self) -> None:
        """Call it again, not before the next turn of the loop."""
        if self._paused and not self._closing:
            self._paused = False
            self._loop.call_soon(self.take_arrived, context=self._end.context)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``, or keep it until there is room."""
        if self._finished:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._lost or not data:
            return
        data = bytes(data)
        if not self._buffer:
            data = data[self._end.send(data) :]
        if data:
            self._buffer += data
            self._pause_if_full()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of them together."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """Send no more once everything is written; reading goes on."""
        if not self._closing and not self._finished:
            self._finished = True
            if not self._buffer:
                self._end.finish()

    def close(self) -> None:
        """Close once everything is written; read no more."""
        if not self._closing:
            self._closing = True
            if not self._buffer:
                self._lose(None)

    def abort(self) -> None:
        """Close now; what is not written never will be."""
        self.break_off(None)

    def get_write_buffer_size(self) -> int:
        """Bytes that are neither sent nor received by the other machine."""
        return len(self._buffer)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high water mark."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks at which the protocol is asked to pause and to go on."""
        if high is None:
            high = _HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high, self._low = high, low
        self._pause_if_full()

    # -- what the network calls -----------------------------------------------------------------

    def take_arrived(self) -> None:
        """Give the protocol what has arrived, as long as it reads."""
        end = self._end
        while end.inbox and self._reads and not self._paused and not self._closing:
            data = end.take()
            if data:
                self._call(self._protocol.data_received, data)
            else:
                self._reads = False
                if not self._call(self._protocol.eof_received):
                    self.close()

    def go_on_writing(self) -> None:
        """Send what is kept; there is room."""
        if self._lost or not self._buffer:
            return
        del self._buffer[: self._end.send(bytes(self._buffer))]
        if self._full and len(self._buffer) <= self._low:
            self._full = False
            self._call(self._protocol.resume_writing)
        if not self._buffer:
            if self._closing:
                self._lose(None)
            elif self._finished:
                self._end.finish()

    def break_off(self, error: BaseException | None) -> None:
        """Close now: the connection broke, or nobody wants it any more."""
        if not self._lost:
            self._buffer.clear()
            self._closing = True
            self._lose(error)

    def __repr__(self) -> str:
        end = self._end
        return f"<SimTransport {end.name} to {end.peer.name} of life {self.life}>"

    # -- inside ---------------------------------------------------------------------------------

    def _begin_to_read(self, ready: asyncio.Future[None] | None) -> None:
        self._reads = True
        if ready is not None and not ready.done():
            ready.set_result(None)
        if self._end.error is not None:
            self.break_off(self._end.error)
        self.take_arrived()

    def _lose(self, error: BaseException | None) -> None:
        self._lost = True
        self._loop.call_soon(self._tell_lost, error, context=self._end.context)

    def _tell_lost(self, error: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._end.close()

    def _pause_if_full(self) -> None:
        if not self._full and len(self._buffer) > self._high:
            self._full = True
            self._call(self._protocol.pause_writing)

    def _call(self, method: Callable[..., Any], *args: bytes) -> Any:
        """Call the protocol; a fault in it breaks the connection."""
        try:
            return method(*args)
        except _NOT_CAUGHT:
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio does
            message = f"Fatal error: {method.__qualname__}() failed."
            self._loop.call_exception_handler({"message": message, "exception": error, "transport": self})
            self.break_off(error)
            return True
