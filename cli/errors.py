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
        except EfficientZeroError as error:
            fail(str(error), exit_code=error.exit_code)
        except OSError as error:
            fail(f"files must be readable and writable, got {error}", exit_code=1)
        except KeyboardInterrupt:
            fail("stopped", exit_code=INTERRUPTED)

    return wrapped


def fail(message: str, *, exit_code: int) -> None:
    """Prints the line and leaves."""
    line = " ".join(message.split())
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text(f"error: {line}", style="bold red"))
    raise typer.Exit(exit_code)
