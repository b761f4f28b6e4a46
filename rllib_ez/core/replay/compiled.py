"""Turns a plain function over arrays into machine code, remembered on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """`numba.njit`, one thread, without the GIL, that keeps the function's type."""
    return cast(Function, njit(cache=True, nogil=True)(function))
