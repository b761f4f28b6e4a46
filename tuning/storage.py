"""A sweep's folders on a disk or behind a URI, and the seals of its checkpoints."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow.fs import FileSelector, FileSystem, FileType  # type: ignore[import-untyped]

from rllib_ez.core.replay.archive_folder import ArchiveFolder
from rllib_ez.errors import ArchiveError, SettingError

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder."""

    filesystem: FileSystem
    path: str  # as `filesystem` names it
    shown: str = ""  # for people, without a key or password

    @classmethod
    def at(cls, uri: str | Path, *, option: str = "out") -> Folder:
        """Opens a local path, or a URI such as s3://bucket/folder.

        Args:
            uri: where it is, or is to be.
            option: what to call it in an error.

        Raises:
            SettingError: no store of pyarrow has such a URI, or it cannot be reached.
        """
        try:
            found = ArchiveFolder.at(uri)
        except ArchiveError as error:
            raise SettingError(f"{option} {str(error).removeprefix('archive ')}") from None
        return cls(found.filesystem, found.path, found.shown.rstrip("/"))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rstrip("/").rpartition("/")[2]

    def folders(self, pattern: str = ".*") -> list[Folder]:
        """Those in it whose whole names match, by the number at their end, then by name."""
        found = [info.base_name for info in self._infos() if info.type == FileType.Directory]
        names = [name for name in found if re.fullmatch(pattern, name)]
        names.sort(key=lambda name: (int((re.findall(r"\d+$", name) or [0])[0]), name))
        return [
            Folder(self.filesystem, f"{self.path}/{name}", f"{self.shown}/{name}") for name in names
        ]

    def text(self, name: str) -> str | None:
        """What a file holds; None if there is none."""
        try:
            with self.filesystem.open_input_file(f"{self.path}/{name}") as file:
                return bytes(file.read()).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def is_whole(self) -> bool:
        """Whether this checkpoint has every file of its manifest in its size."""
        try:
            manifest = json.loads(self.text(MANIFEST) or "")
        except ValueError:
            return False
        files = manifest.get("files") if isinstance(manifest, dict) else None
        there = {info.path[len(self.path) + 1 :]: info.size for info in self._infos(recursive=True)}
        return isinstance(files, dict) and files.items() <= there.items()

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        info = self.filesystem.get_file_info(f"{self.path}/{name}")
        return bool(info.type == FileType.File)

    def write(self, name: str, text: str) -> None:
        """Writes a file whole: a reader sees the old one or the new one."""
        self.filesystem.create_dir(self.path, recursive=True)
        draft, target = f"{self.path}/.{name}.draft", f"{self.path}/{name}"
        with self.filesystem.open_output_stream(draft) as stream:
            stream.write(text.encode())
        self.filesystem.move(draft, target)

    def delete(self) -> None:
        """Removes it with all that is in it."""
        self.filesystem.delete_dir(self.path)

    def _infos(self, *, recursive: bool = False) -> list[Any]:
        # What is listed may go meanwhile: the sweep may be running.
        selector = FileSelector(self.path, recursive=recursive, allow_not_found=True)
        return list(self.filesystem.get_file_info(selector))


def seal(folder: Path) -> None:
    """Writes the manifest of a checkpoint's files: what of it must be there when it is read."""
    files = {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps({"files": files}))
