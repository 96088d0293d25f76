"""Nodes: who is on the register, and what this node knows of them."""

from typing import Protocol

import msgspec

from posthouse.store.protocol import NodeRecord, Ownership


class Watcher(Protocol):
    """Who watches the beats of all nodes (``engine.membership.Membership``)."""

    @property
    def name(self) -> str:
        """The name of this node."""
        ...

    def lives(self, name: str) -> bool:
        """Whether the node of this name is known to live."""
        ...

    def silence(self, name: str) -> float | None:
        """For how long its beat was not seen to change, seconds; None: it was not looked at yet."""
        ...


class NodeDetail(msgspec.Struct, frozen=True):
    """A node on the register."""

    record: NodeRecord
    is_this: bool  #: it is the one that answers
    lives: bool | None  #: None: it was not looked at yet
    silent_seconds: float | None  #: for how long its beat was not seen to change


class Nodes:
    """Shows who works together on the store."""

    def __init__(self, store: Ownership, watcher: Watcher | None) -> None:
        self._store = store
        self._watcher = watcher

    async def all(self) -> list[NodeDetail]:
        """Everybody on the register, by name. Raises StoreUnavailable."""
        return [self._detail(record) for record in await self._store.nodes()]

    def _detail(self, record: NodeRecord) -> NodeDetail:
        watcher = self._watcher
        silent = None if watcher is None else watcher.silence(record.name)
        if watcher is None or silent is None:
            return NodeDetail(record, is_this=False, lives=None, silent_seconds=None)
        return NodeDetail(record, record.name == watcher.name, watcher.lives(record.name), silent)
