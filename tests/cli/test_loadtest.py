"""`ez loadtest`: its tables, its files, its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from cli.load_picture import draw_load
from cli.loadtest import loadtest, read_token
from rllib_ez.errors import SettingError
from serve.load_report import LoadStep, ServerCpu
from tests.serve.under_load import GOOD, answer_of, running_service, scripted_service

SHORT = ("--seconds", "0.4", "--concurrency", "1,4")
OK = answer_of(200, GOOD)
STEP: dict[str, Any] = {
    "seconds": 2.0,
    "requests": 100,
    "observations": 100,
    "requests_per_second": 50.0,
    "observations_per_second": 50.0,
    "latency_ms": {"mean": 20.0, "p50": 18.0, "p95": 30.0, "p99": 40.0, "max": 41.0},
    "queue_ms": 4.0,
    "search_ms": 12.0,
    "shares": {"queue": 0.2, "search": 0.6, "rest": 0.2},
    "errors": {},
    "observations_by_batch": {1: 20, 4: 80},
    "batch_mean": 2.5,
    "server_cpu_ms": ServerCpu(http=0.75, search=3.5),
    "client_cpu_ms": 0.04,
}
NOTHING: dict[str, Any] = {
    "requests": 0,
    "latency_ms": None,
    "shares": None,
    "search_ms": None,
    "observations_by_batch": {},
    "batch_mean": None,
    "server_cpu_ms": None,
    "client_cpu_ms": None,
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_service(tmp_path_factory.mktemp("agent")) as url:
        yield url


def called(*args: str) -> Result:
    app = typer.Typer()
    app.command()(loadtest)
    return CliRunner().invoke(app, list(args))


def test_a_step_is_a_row_in_each_table(service):
    done = called(service, *SHORT)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"cartpole (CartPole-v1) at {service}, 2 simulations, raw")
    assert [line.split()[0] for line in lines[2:4] + lines[5:7]] == ["1", "4", "1", "4"]
    assert all(len(line) <= 80 for line in lines[1:7])
    assert lines[7] == "batches with 1 client: 1: 100%"


def test_the_files_and_the_json_tell_the_same(service, tmp_path: Path):
    done = called(service, *SHORT, "--out", str(tmp_path / "load"), "--json")
    report = json.loads(done.stdout.splitlines()[-1])
    assert report == json.loads((tmp_path / "load/loadtest.json").read_text())
    assert [step["concurrency"] for step in report["steps"]] == [1, 4]
    assert report["model"]["name"] == "cartpole"
    assert imread(tmp_path / "load/loadtest.png").shape[:2] == (480, 1440)


def test_the_report_does_not_tell_the_token(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("client a-token-of-some-length\n")
    with running_service(tmp_path, token_file=str(file)) as url:
        refused = called(url, *SHORT)
        done = called(url, *SHORT, "--token-file", str(file), "--json")
    assert (refused.exit_code, done.exit_code) == (1, 0)
    assert "HTTP 401" in refused.stderr
    assert "a-token-of-some-length" not in done.output


def test_errors_have_a_line_and_do_not_stop_the_test():
    with scripted_service(OK, answer_of(429, {})) as url:
        done = called(url, *SHORT)
    assert done.exit_code == 0
    assert "x 429" in next(line for line in done.stdout.splitlines() if "errors with 4" in line)


def test_exits_with_1_if_nothing_succeeded(tmp_path: Path):
    with scripted_service(answer_of(503, {})) as url:
        done = called(url, *SHORT, "--out", str(tmp_path))
    assert done.exit_code == 1
    assert (tmp_path / "loadtest.png").exists()


def test_where_nothing_answers_there_is_one_line():
    done = called("http://127.0.0.1:9")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: URL must be of a service that answers")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("wrong", ["0", "1,x", ""])
def test_wrong_numbers_of_clients_are_refused(wrong):
    done = called("http://127.0.0.1:9", "--concurrency", wrong)
    assert done.exit_code == 2
    assert "concurrency must be whole numbers >= 1" in done.stderr


@pytest.mark.parametrize("text", ["abc\n", "# mine\n\nclient abc\nadmin x\n", "admin abc"])
def test_the_first_token_of_a_file_is_taken(tmp_path: Path, text):
    (tmp_path / "tokens").write_text(text)
    assert read_token(tmp_path / "tokens") == "abc"


@pytest.mark.parametrize("text", ["", "a b c", "user abc"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, text):
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(SettingError, match="token_file must begin with"):
        read_token(tmp_path / "tokens")


def test_a_picture_has_something_for_each_step_that_succeeded(tmp_path: Path):
    steps = [
        LoadStep(concurrency=1, **STEP),
        LoadStep(concurrency=8, **{**STEP, "requests_per_second": 90.0}),
        LoadStep(concurrency=64, **{**STEP, **NOTHING}),
    ]
    draw_load(steps, tmp_path / "three.png", title="t")
    draw_load(steps[:2], tmp_path / "two.png", title="t")
    draw_load(steps[2:], tmp_path / "none.png", title="t")
    three, two, none = (imread(tmp_path / f"{name}.png") for name in ("three", "two", "none"))
    assert (three == two).all()
    assert (two != none).any()
