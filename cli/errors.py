"""Errors as a person meets them: one clear line on stderr, and the exit code of their kind."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from rllib_ez.errors import EfficientZeroError

INTERRUPTED = 130  # what shells expect after Ctrl-C


def one_line(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turns errors that are the caller's to mend into one line and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            fail("stopped", exit_code=INTERRUPTED)
        except Exception as error:
            cause = cause_of(error)
            if isinstance(cause, EfficientZeroError):
                fail(str(cause), exit_code=cause.exit_code)
            if isinstance(cause, OSError):
                fail(f"files must be readable and writable, got {cause}", exit_code=1)
            raise

    return wrapped


def cause_of(error: Exception) -> Exception:
    """The error itself; of what Ray hands on from a worker, the one that was raised there."""
    inner = getattr(error, "cause", None)
    return cause_of(inner) if isinstance(inner, Exception) else error


def fail(message: str, *, exit_code: int) -> None:
    """Prints the line and leaves."""
    line = " ".join(message.split())
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text(f"error: {line}", style="bold red"))
    raise typer.Exit(exit_code)
