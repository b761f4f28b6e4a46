"""A folder on any file system that pyarrow knows; its files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
from pyarrow.fs import (  # type: ignore[import-untyped]
    FileSelector,
    FileSystem,
    FileType,
    LocalFileSystem,
    SubTreeFileSystem,
)

from rllib_ez.errors import ArchiveError

SUFFIX = ".parquet"
DRAFT = ".part"


@dataclass(frozen=True, slots=True)
class ArchiveFolder:
    """A folder of Parquet files. Names that begin with a dot are drafts and never read."""

    filesystem: FileSystem
    path: str  # as `filesystem` names it
    shown: str  # for people: as it was given, without a key or password

    @classmethod
    def at(cls, uri: str | Path, filesystem: FileSystem | None = None) -> ArchiveFolder:
        """The folder at a local path, or at a URI such as s3://bucket/folder; or within a store.

        Raises:
            ArchiveError: no store of pyarrow has such a URI, or it cannot be reached.
        """
        shown = _without_keys(str(uri))
        if filesystem is not None:
            return cls(filesystem, str(uri).rstrip("/"), shown)
        if "://" not in str(uri):
            return cls(LocalFileSystem(), str(Path(uri).absolute()), shown)
        try:
            found, path = FileSystem.from_uri(str(uri))
            return cls(found, path.rstrip("/"), shown)
        except (OSError, pa.ArrowException) as error:
            raise ArchiveError(
                f"archive must be a local folder or a URI that pyarrow.fs opens (file, s3, gs, "
                f"abfs, hdfs), got {shown!r}: {_reason(error)}"
            ) from None  # pyarrow's own error would show the key that is in the URI

    def make(self) -> None:
        """Makes the folder, and on a disk sees to it that it outlives a power cut."""
        try:
            local = self._local(self.path)
            new = [] if local is None else [p for p in (local, *local.parents) if not p.exists()]
            self.filesystem.create_dir(self.path, recursive=True)
            for folder in new:
                _sync(folder.parent)
        except Exception as error:  # a store of one's own may raise anything
            raise ArchiveError(
                f"archive must be a folder that can be made, got {self.shown!r}: {_reason(error)}"
            ) from error

    def files(self) -> dict[str, int]:
        """Names of all finished files with their sizes in bytes, in order of names.

        Raises:
            ArchiveError: there is no such folder.
        """
        sizes = {name: size for name, size in self._listed() if not name.startswith((".", "_"))}
        return {name: sizes[name] for name in sorted(sizes) if name.endswith(SUFFIX)}

    def drafts(self) -> list[str]:
        """Names of unfinished files: being written now, or left by a kill."""
        return [name for name, _ in self._listed() if name.startswith(".") and name.endswith(DRAFT)]

    def _listed(self) -> list[tuple[str, int]]:
        try:
            listed = self.filesystem.get_file_info(FileSelector(self.path))
        except FileNotFoundError:
            raise ArchiveError(
                f"archive must exist, got {self.shown!r}: no such folder; give the folder that a "
                "run archives its episodes in"
            ) from None
        except Exception as error:
            raise ArchiveError(
                f"archive must be a folder that can be listed, got {self.shown!r}: {_reason(error)}"
            ) from error
        return [(info.base_name, info.size) for info in listed if info.type == FileType.File]

    def open(self, name: str) -> pa.NativeFile:
        """Opens a file for reading at any place."""
        return self.filesystem.open_input_file(f"{self.path}/{name}")

    def put(self, name: str, content: pa.Buffer) -> None:
        """Writes a new file. On a disk it is there for good once this returns.

        Raises:
            ArchiveError: it cannot be written, or is there already; no half file is left.
        """
        draft, target = f"{self.path}/.{name}{DRAFT}", f"{self.path}/{name}"
        try:
            self._check_new(target)
            with self.filesystem.open_output_stream(draft) as stream:
                stream.write(content)
            self._sync(draft)
            self.filesystem.move(draft, target)
            self._sync(self.path)
        except ArchiveError:
            raise
        except Exception as error:  # a store of one's own may raise anything
            self.delete([f".{name}{DRAFT}"])
            raise ArchiveError(
                f"archive must be writable, got {_reason(error)}; the episodes are not in "
                f"{self.shown} and still in replay. Free some space there or choose another folder"
            ) from error

    def _check_new(self, target: str) -> None:
        if self.filesystem.get_file_info(target).type != FileType.NotFound:
            raise ArchiveError(
                f"writer must be the name of one process, got a file {target!r} that another "
                "process wrote under it; give each process a name of its own"
            )

    def delete(self, names: list[str]) -> None:
        """Deletes files; what cannot be deleted, or is gone already, is passed over."""
        for name in names:
            with contextlib.suppress(Exception):  # a file too many does no harm
                self.filesystem.delete_file(f"{self.path}/{name}")

    def _sync(self, path: str) -> None:
        local = self._local(path)
        if local is not None:
            _sync(local)

    def _local(self, path: str) -> Path | None:
        """Where a path is on this machine's disks, None if it is elsewhere."""
        filesystem = self.filesystem
        while isinstance(filesystem, SubTreeFileSystem):
            path, filesystem = f"{filesystem.base_path}{path}", filesystem.base_fs
        return Path(path) if isinstance(filesystem, LocalFileSystem) else None


def _sync(path: Path) -> None:
    """Waits until a file, or the list of a folder's entries, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(error: Exception) -> str:
    """What happened, without the key that a URI may hold."""
    return _without_keys(f"{type(error).__name__}: {error}")


def _without_keys(text: str) -> str:
    """URIs without what stands before an @, or after a question mark."""
    text = re.sub(r"://\S*@", "://***@", text)
    return re.sub(r"(://[^\s?]*)\?[^\s']*", r"\1?***", text)
