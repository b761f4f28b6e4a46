from __future__ import annotations

import pytest
import typer
from ray.exceptions import RayTaskError

from cli.errors import cause_of, one_line
from rllib_ez.errors import ArchiveError, EfficientZeroError, EnvironmentCrashError, SettingError


def from_a_worker(error: Exception) -> Exception:
    """What `ray.get` raises for an error in a worker."""
    return RayTaskError(
        "warm", "Traceback (most recent call last): ...", error
    ).as_instanceof_cause()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ArchiveError("an archive"), 3),
        (EnvironmentCrashError("a crash"), 5),
        (OSError("a disk"), 1),
    ],
)
def test_an_error_in_a_worker_is_one_line_with_its_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
):
    def command() -> None:
        raise from_a_worker(error)

    with pytest.raises(typer.Exit) as left:
        one_line(command)()
    shown = capsys.readouterr().err
    assert (left.value.exit_code, shown.count("\n")) == (code, 1)
    assert str(error) in shown


def test_the_cause_is_found_through_several_workers():
    error = SettingError("inner")
    assert cause_of(from_a_worker(from_a_worker(error))) is error


def test_an_error_of_our_own_is_its_own_cause():
    error = EfficientZeroError("outer")
    assert cause_of(error) is error


def test_a_bug_in_a_worker_is_shown_whole():
    def command() -> None:
        raise from_a_worker(ZeroDivisionError("a bug"))

    with pytest.raises(ZeroDivisionError):
        one_line(command)()
