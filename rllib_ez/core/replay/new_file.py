"""A file that gets its name only once it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

DRAFT = ".draft"


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to write that replaces what is at `path` when the block ends without error.

    What was there is never written to: other folders may hold the same file by a hard link.
    """
    draft = path.with_name(path.name + DRAFT)
    draft.unlink(missing_ok=True)  # left by a save that was killed
    try:
        with draft.open("xb") as file:
            yield file
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
