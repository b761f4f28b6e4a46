"""How the code of a search is compiled: once for the CPU by numba, again for the GPU.

The code of a node is written once, as plain functions of scalars and of one root's rows.
`gpu.py` compiles the same functions as device functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def lean(function: Function) -> Function:
    """Compiles what allocates nothing: without reference counts a tree of arrays costs half."""
    options: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
    return cast(Function, njit(**options)(function))
