"""SQLite's view of the disk: the system's own files, with every call noted and perhaps refused."""

# ruff: noqa: N802 - the names of the methods are SQLite's

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

from posthouse.testing.disk.calls import Call, DiskError, FileKind, refusal
from posthouse.testing.disk.content import Content
from posthouse.testing.disk.folder import Folder
from posthouse.testing.disk.recorder import Recorder

_SYSTEM: Final = "unix"
_JOURNALS: Final = frozenset({FileKind.WAL, FileKind.JOURNAL})


class DiskVfs(apsw.VFS):
    """Opens files in any directory, and knows what is durable in each. Temporary files are not looked at."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        self._recorder = recorder
        self.folders: dict[Path, Folder] = {}
        super().__init__(name, _SYSTEM)

    def folder_at(self, path: Path) -> Folder:
        """The files of a directory; one that is new here is durable as it is found."""
        folder = self.folders.get(path)
        if folder is None:
            folder = self.folders[path] = Folder(path)
        return folder

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        """Open or create a file."""
        if name is None:
            return apsw.VFSFile(_SYSTEM, name, flags)
        return DiskFile(self._recorder, self.folder_at, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001 - SQLite's signature
        """Delete a file, and perhaps sync the directory."""
        path = Path(filename)
        folder, kind = self.folder_at(path.parent), FileKind.of(path.name)
        error = self._recorder.begin(folder, Call.DELETE, kind)
        if error is not None:
            raise refusal(Call.DELETE, error)
        super().xDelete(filename, False)  # noqa: FBT003 - it takes no names
        if folder.is_live:
            folder.delete(path.name)
            if syncdir:
                folder.sync_names()
        self._recorder.end(folder, Call.DELETE, kind)


class DiskFile(apsw.VFSFile):
    """An open file. Calls that a crash left behind go to the old file, and nobody notes them."""

    def __init__(
        self,
        recorder: Recorder,
        folder_at: Callable[[Path], Folder],
        name: str | apsw.URIFilename,
        flags: list[int],
    ) -> None:
        path = Path(name if isinstance(name, str) else name.filename())
        self._recorder = recorder
        self._name = path.name
        self._kind = FileKind.of(path.name)
        self._folder = folder = folder_at(path.parent)
        # As SQLite does it: the first sync of a log or a journal is also one of the directory.
        self._directory_sync_due = self._kind in _JOURNALS and bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        error = recorder.begin(folder, Call.OPEN, self._kind)
        if error is not None:
            raise refusal(Call.OPEN, error)
        existed = path.exists()
        super().__init__(_SYSTEM, name, flags)
        self._content = folder.open(path.name, existed=existed) if folder.is_live else Content()
        recorder.end(folder, Call.OPEN, self._kind)

    def xRead(self, amount: int, offset: int) -> bytes:
        """Read."""
        error = self._recorder.begin(self._folder, Call.READ, self._kind, offset, amount)
        if error is not None:
            raise refusal(Call.READ, error)
        data = super().xRead(amount, offset)
        self._recorder.end(self._folder, Call.READ, self._kind)
        return data

    def xWrite(self, data: bytes, offset: int) -> None:
        """Write: everything, or as much as a refusing disk takes."""
        recorder, folder = self._recorder, self._folder
        error = recorder.begin(folder, Call.WRITE, self._kind, offset, len(data))
        if error is None and recorder.faults.bytes_max is not None and folder.is_live:
            room = self._content.size - offset + max(0, recorder.faults.bytes_max - folder.size)
            if len(data) > room:
                data = data[: max(0, room)]
                error = recorder.refuse(DiskError.FULL)
        elif error is not None:
            data = data[: recorder.chance.randrange(len(data))] if error is DiskError.SHORT else b""
        if data:
            super().xWrite(data, offset)
            if folder.is_live:
                self._content.write(offset, data)
                recorder.statistics.bytes_written += len(data)
        if error is not None:
            raise refusal(Call.WRITE, error)
        recorder.end(folder, Call.WRITE, self._kind)

    def xTruncate(self, newsize: int) -> None:
        """Set the size."""
        error = self._recorder.begin(self._folder, Call.TRUNCATE, self._kind, newsize)
        if error is not None:
            raise refusal(Call.TRUNCATE, error)
        super().xTruncate(newsize)
        if self._folder.is_live:
            self._content.truncate(newsize)
        self._recorder.end(self._folder, Call.TRUNCATE, self._kind)

    def xSync(self, flags: int) -> None:  # noqa: ARG002 - the same for all kinds of sync
        """Make what was written durable, unless the disk fails or lies. The system's own disk is left alone."""
        recorder, folder, content = self._recorder, self._folder, self._content
        error = recorder.begin(folder, Call.SYNC, self._kind)
        if error is not None:
            content.fail_sync(recorder.chance)
            raise refusal(Call.SYNC, error)
        if not folder.is_live:
            return
        if recorder.faults.sync_seconds:
            time.sleep(recorder.faults.sync_seconds)
        if recorder.faults.lying_sync:
            recorder.statistics.lies += 1
        else:
            content.sync()
            folder.sync_name(self._name, content)
            if self._directory_sync_due:
                folder.sync_names()
                self._directory_sync_due = False
        recorder.end(folder, Call.SYNC, self._kind)
