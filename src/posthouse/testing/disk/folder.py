"""What a directory holds: names, and the files behind them; which names a power cut would find."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

from posthouse.testing.disk.content import Content


class Folder:
    """The files of one directory that went through the disk.

    A name that was made or removed is durable when the directory is synced, or the file itself is;
    until then a power cut may find the name as it is, or as it was at any time since.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_live = True  #: False once a crash left it behind
        self._contents: dict[str, Content] = {}
        self._since_sync: dict[str, list[Content | None]] = {}  # what a name stood for, the durable one first

    def open(self, name: str, *, existed: bool) -> Content:
        """The file behind a name, which is there now; one that nobody opened before is durable as it is."""
        content = self._contents.get(name)
        if content is None:
            content = Content((self.path / name).read_bytes() if existed else b"")
            self._contents[name] = content
            if not existed:
                self._since_sync.setdefault(name, [None]).append(content)
        return content

    def delete(self, name: str) -> None:
        """Take a name away, not durably."""
        content = self._contents.pop(name, None)
        if content is not None:
            self._since_sync.setdefault(name, [content]).append(None)

    def sync_name(self, name: str, content: Content) -> None:
        """The file was synced: so its name is durable, if it still has it."""
        if self._contents.get(name) is content:
            self._since_sync.pop(name, None)

    def sync_names(self) -> None:
        """Every name is durable as it is."""
        self._since_sync.clear()

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(content.size for content in self._contents.values())

    def knows(self, name: str) -> bool:
        """Whether a file of this name ever went through the disk."""
        return name in self._contents or name in self._since_sync

    def end_process(self, path: Path) -> "Folder":
        """The folder at another path, as a new process finds it while the system lives on."""
        self.is_live = False
        after = Folder(path)
        after._contents, self._contents = self._contents, {}
        after._since_sync, self._since_sync = self._since_sync, {}
        for name in after._contents:
            (path / name).write_bytes((self.path / name).read_bytes())
        return after

    def cut_power(self, path: Path, chance: Random) -> tuple["Folder", int, int]:
        """The folder at another path, as it is when power comes back; how many changes were lost, and torn."""
        self.is_live = False
        after = Folder(path)
        lost = torn = 0
        for name, content in self._found(chance):
            before = content.lost, content.torn
            (path / name).write_bytes(content.cut_power(chance))
            lost += content.lost - before[0]
            torn += content.torn - before[1]
            after._contents[name] = content
        return after, lost, torn

    def _found(self, chance: Random) -> Iterator[tuple[str, Content]]:
        for name in sorted({*self._contents, *self._since_sync}):
            possible = self._since_sync.get(name) or [self._contents[name]]
            found = chance.choice(possible)
            if found is not None:
                yield name, found
