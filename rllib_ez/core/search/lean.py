"""How the code of a search is compiled: once for the CPU by numba, again for the GPU.

The code of a node is written once, as plain functions of scalars and of one root's rows.
`core/gpu/` compiles the same functions as device functions.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def lean(function: Function) -> Function:
    """Compiles what allocates nothing: without reference counts a tree of arrays costs half.

    Kept on disk for the next process, until any file that such code is made of changes: numba
    itself looks at the function's own file only, and would go on with what it calls as it was.
    """
    options: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
    dispatcher = njit(**options)(function)
    kept = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if kept is not None:
        kept._source_stamp = SOURCES
    return cast(Function, dispatcher)


def _stamp_sources() -> tuple[tuple[str, int, int], ...]:
    core = Path(__file__).parents[1]
    files = [core / "random.py", *core.glob("search/*.py"), *core.glob("compiled/*.py")]
    stats = [(path.name, path.stat()) for path in sorted(files)]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


SOURCES = _stamp_sources()
