"""Archives: a folder with a store as it was at one instant, and a list of what must be in it.

While an archive is being written its folder has another name; it gets its own when everything is on the disk. So
whatever has the name is whole. The list, `manifest.json`, has a checksum of every file and one of itself.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from posthouse.core.errors import ArchiveInvalid, PlaceOccupied, StoreIncompatible, StoreInUse, StoreUnavailable
from posthouse.store.shared.tally import Tally
from posthouse.store.shared.telling import Tell

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"

_CHUNK_BYTES: Final = 1024 * 1024


class File(msgspec.Struct, frozen=True):
    """A file of an archive."""

    name: str
    bytes: int
    sha256: str  #: in hexadecimal


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an archive holds."""

    format: int = FORMAT
    engine: str  #: ``sqlite`` or ``postgresql``: where it can be restored
    schema_version: int  #: number of the last migration that its store had
    made_at: int  #: Unix ms by the clock of the machine that wrote it: everything acknowledged before is in it
    made_by: str  #: version of Posthouse
    key_floor: int  #: the greatest key in it
    rows: Mapping[str, int]  #: of each table
    columns: Mapping[str, tuple[str, ...]] = {}  #: of each table, in the order of its file; of PostgreSQL only
    tally: Tally
    files: tuple[File, ...]


class _Sealed(msgspec.Struct, frozen=True):
    """The file of a manifest."""

    sha256: str  #: of the manifest, encoded as it stands here
    manifest: msgspec.Raw


class Writing:
    """A file of an archive that is being written; knows what went into it."""

    def __init__(self, file: BinaryIO, target: Path) -> None:
        self._file = file
        self._target = target
        self._sum = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Append. Raises StoreUnavailable."""
        try:
            self._file.write(data)
        except OSError as error:
            raise _unwritable(self._target, error) from error
        self._sum.update(data)
        self.bytes += len(data)

    def close(self, name: str) -> File:
        """Make it durable; what it is. Raises StoreUnavailable."""
        try:
            with self._file:
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as error:
            raise _unwritable(self._target, error) from error
        return File(name, self.bytes, self._sum.hexdigest())


class Draft:
    """An archive that is being written. As a context it leaves nothing behind unless :meth:`finish` was called.

    Raises:
        PlaceOccupied: There is something of that name.
        StoreInUse: Somebody else is writing the same archive.
        StoreUnavailable: Nothing can be written there. Also on leaving the context with an OSError.
    """

    def __init__(self, target: Path) -> None:
        self.target = target.absolute()
        self.folder = self.target.with_name(f".{self.target.name}.partial")
        if os.path.lexists(self.target):
            raise PlaceOccupied(f"{self.target} exists already.", hint="Name an archive that does not exist yet.")
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unwritable(self.target, error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_named = os.path.samestat(os.fstat(self._fd), self.folder.stat())
        except OSError:
            is_named = False
        if not is_named:  # held by another one, or it got its own name just now
            os.close(self._fd)
            raise StoreInUse(f"Another process is writing {self.target}.", hint="Wait for it, or name another archive.")
        self._finished = False
        self._files = ExitStack()
        for left in self.folder.iterdir():  # by one that was killed
            left.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            with suppress(OSError):
                self._files.close()  # what is open still is not needed any more
            if not self._finished:
                shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            os.close(self._fd)
        if isinstance(error, OSError):
            raise _unwritable(self.target, error) from error

    def write(self, name: str) -> Writing:
        """A new file of it."""
        file = (self.folder / name).open("xb")
        self._files.callback(file.close)
        return Writing(file, self.target)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, make everything durable, and give the archive its name. Raises OSError."""
        encoded = msgspec.json.encode(manifest)
        sealed = _Sealed(hashlib.sha256(encoded).hexdigest(), msgspec.Raw(encoded))
        listing = self.write(MANIFEST)
        listing.write(msgspec.json.encode(sealed))
        listing.close(MANIFEST)
        os.fsync(self._fd)
        self.folder.rename(self.target)
        self._finished = True
        sync_folder(self.target.parent)


def read_manifest(archive: Path) -> Manifest:
    """What an archive says that it holds.

    Raises:
        ArchiveInvalid: It is none, or a byte of its manifest is not as it was written.
    """
    try:
        text = (archive / MANIFEST).read_bytes()
        sealed = msgspec.json.decode(text, type=_Sealed)
        manifest = msgspec.json.decode(sealed.manifest, type=Manifest)
    except OSError as error:
        raise ArchiveInvalid(f"{archive} is no archive: {MANIFEST} cannot be read ({error.strerror}).") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArchiveInvalid(f"{archive / MANIFEST} is damaged.") from error
    is_whole = hashlib.sha256(bytes(sealed.manifest)).hexdigest() == sealed.sha256
    if not is_whole or msgspec.json.encode(sealed) != text:
        raise ArchiveInvalid(f"{archive / MANIFEST} is damaged.")
    if any(Path(file.name).name != file.name for file in manifest.files):
        raise ArchiveInvalid(f"{archive / MANIFEST} names files outside of the archive.")
    if manifest.format != FORMAT:
        raise ArchiveInvalid(
            f"{archive} has format {manifest.format}; this version of Posthouse reads {FORMAT}.",
            hint="Restore it with the version of Posthouse that wrote it.",
        )
    return manifest


def prove_known(manifest: Manifest, known: int) -> None:
    """Refuse an archive of a later version than the one with ``known`` migrations.

    Raises:
        StoreIncompatible: It is one.
    """
    if manifest.schema_version > known:
        raise StoreIncompatible(
            f"The archive has schema version {manifest.schema_version}; this version of Posthouse knows {known}.",
            hint=f"Restore it with Posthouse {manifest.made_by} or a newer one.",
        )


def check_files(archive: Path, manifest: Manifest, tell: Tell) -> None:
    """Read every file of an archive once.

    Args:
        archive: its folder.
        manifest: what must be in it.
        tell: hears the bytes that were read.

    Raises:
        ArchiveInvalid: A file is missing, or a byte of it is not as it was written.
    """
    total = sum(file.bytes for file in manifest.files)
    read = 0
    for file in manifest.files:
        found = hashlib.sha256()
        size = 0
        try:
            with (archive / file.name).open("rb") as opened:
                while data := opened.read(_CHUNK_BYTES):
                    found.update(data)
                    size += len(data)
                    read += len(data)
                    tell("check", read, total)
        except OSError as error:
            raise ArchiveInvalid(f"{archive / file.name} cannot be read ({error.strerror}).") from error
        if size != file.bytes or found.hexdigest() != file.sha256:
            raise ArchiveInvalid(f"{archive / file.name} is damaged.")


def sum_of(path: Path, name: str) -> File:
    """A file that somebody else wrote, as it stands in a manifest. Raises OSError."""
    with path.open("rb") as file:
        return File(name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: they must survive a power cut as well as what they name."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unwritable(target: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"{target} cannot be written: {error.strerror or error}.", hint="Make room, or name another place."
    )
