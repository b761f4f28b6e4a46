"""Files that a sweep writes beside Tune's: its order, marks on trials, seals of checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileSystem, FileType  # type: ignore[import-untyped]

from rllib_ez.core.replay.archive_folder import ArchiveFolder
from rllib_ez.errors import ArchiveError, SettingError

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on a disk or behind a URI."""

    filesystem: FileSystem
    path: str  # as `filesystem` names it

    @classmethod
    def at(cls, uri: str | Path) -> Folder:
        """Opens a local path, or a URI such as s3://bucket/folder.

        Raises:
            SettingError: no store of pyarrow has such a URI, or it cannot be reached.
        """
        try:
            found = ArchiveFolder.at(uri)
        except ArchiveError as error:
            raise SettingError(f"out {str(error).removeprefix('archive ')}") from None
        return cls(found.filesystem, found.path)

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


def seal(folder: Path) -> None:
    """Writes the manifest of a checkpoint's files: what of it must be there when it is read."""
    files = {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file != folder / MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps({"files": files}))
