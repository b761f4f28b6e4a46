from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from cli.report import report, report_folder
from cli.report_tables import games_table, show_report, telling_columns
from tests.cli.conftest import ROOT
from tests.tuning.sweeps import (
    row,
    rows,
    write_attempt,
    write_checkpoint,
    write_finished,
    write_killed,
    write_order,
    write_search,
)
from tuning.reading import read_sweep
from tuning.report.model import Report
from tuning.report.scores import build_report
from tuning.specs import TrialSpec
from tuning.suites import load_suite

FILES = {
    *("report.html", "report.json", "rows.csv", "rows.parquet", "scores.csv", "aggregates.csv"),
    *("curves.png", "curves.svg", "aggregates.png", "aggregates.svg"),
}


def ez_report(*args: str) -> Result:
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [*args, "--resamples", "50"])


def told(*args: str) -> dict[str, Any]:
    result = ez_report(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def shown(report: Report, width: int) -> str:
    console = Console(width=width, file=StringIO(), highlight=False)
    show_report(report, console)
    return console.file.getvalue()


@pytest.fixture(scope="module")
def atari(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """All 26 games with three seeds each."""
    folder = tmp_path_factory.mktemp("atari")
    games = load_suite("atari100k").games
    write_order(folder, suite="atari100k", games=[game.name for game in games], seeds=[0, 1, 2])
    scores = {game.name: [game.random, game.reference, -1234.5] for game in games}
    return build_report([read_sweep(write_finished(folder, scores))], num_resamples=50)


def test_everything_is_written_beside_the_sweep(tmp_path: Path):
    result = ez_report(str(write_killed(tmp_path)))
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in (tmp_path / "report").iterdir()} >= FILES
    assert f"report: {tmp_path}/report/report.html" in result.stdout


def test_a_sweep_by_its_uri_has_its_report_there_too(tmp_path: Path):
    found = told(write_killed(tmp_path).as_uri())
    assert found["out"] == f"{tmp_path.as_uri()}/report"
    assert {path.name for path in (tmp_path / "report").iterdir()} == set(found["files"])


def test_another_folder_is_taken_if_told(tmp_path: Path):
    out = tmp_path / "elsewhere"
    found = told(str(write_killed(tmp_path / "sweep")), "--out", str(out))
    assert (found["out"], (out / "report.html").is_file()) == (str(out), True)
    assert not (tmp_path / "sweep" / "report").exists()


def test_the_json_has_every_sweep_and_their_comparison(tmp_path: Path):
    found = told(str(write_killed(tmp_path / "a")), str(write_search(tmp_path / "b")))
    assert [sweep["name"] for sweep in found["sweeps"]] == ["a", "b"]
    assert found["comparisons"][0]["probability"]["value"] == 0.5


def test_a_report_is_made_again_over_the_old_one(tmp_path: Path):
    folders = [str(write_killed(tmp_path / "a")), str(write_search(tmp_path / "b"))]
    assert "improvement.png" in told(*folders)["files"]
    assert "improvement.png" not in told(folders[0])["files"]
    assert not (tmp_path / "a" / "report" / "improvement.png").exists()


def test_the_tables_tell_scores_samples_comparisons_times_and_notes(tmp_path: Path):
    result = ez_report(str(write_killed(tmp_path / "a")), str(write_search(tmp_path / "b")))
    text = " ".join(result.stdout.split())
    assert "CartPole-v1 22.6 475.0 200.0 200.0 200.0 0.0 0.392" in text
    assert "a36fb820 0.445 2 of 2 lr=0.02" in text
    assert "a b 0.500 [0.50, 0.50] 0 of 1" in text
    assert "a 0:03 0:05 0:02 0:13 2.60" in text
    assert "- failed: Acrobot-v1 seed 0 (at 30 of 100): RuntimeError: no luck" in text


def made_by(commit: str) -> list[dict[str, Any]]:
    machine = {"processor": "Xeon", "cpus": 8, "gpu": "H200", "torch": "2.9", "commit": commit}
    return [machine | {"resumed_at": 0, "config_hash": "0123456789ab"}]


def test_the_foot_and_the_best_checkpoints_stand_below_the_scores(tmp_path: Path):
    sweep = write_order(tmp_path / "a", games=["CartPole-v1"])
    for seed in (0, 1):
        spec = TrialSpec(game="CartPole-v1", seed=seed)
        best = row(spec, 50, evaluation_return=300.0, evaluated_at=50)
        reported = [best, *rows(spec, since=50)]
        trial = write_attempt(sweep, spec, reported)
        write_checkpoint(trial, 1, reported, machines=made_by("abc1234"))
    text = " ".join(ez_report(str(sweep)).stdout.split())
    assert "CartPole-v1 seeds 0, 1 0:13 0123456789ab abc1234 1" in text
    assert "machine 1: Xeon, 8 cores, H200; torch 2.9" in text
    assert "Best checkpoint: each run's highest of 2 evaluations, so biased upwards" in text
    assert "CartPole-v1 22.6 475.0 300.0 300.0 300.0 0.0 0.613" in text
    assert "a, best checkpoint 0.613 0.613" in text


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(atari: Report, width: int):
    text = shown(atari, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    assert len([line for line in text.splitlines() if line.startswith("Alien ")]) == 1


@pytest.mark.parametrize(
    ("width", "columns", "left_out"),
    [
        (60, [], 11),
        (80, ["efficientzero"], 10),
        (100, ["efficientzero", "seeds"], 10),
        (120, ["efficientzero", "efficientzero v2", "bbf", "seeds"], 8),
    ],
)
def test_columns_that_tell_most_are_shown(
    atari: Report, width: int, columns: list[str], left_out: int
):
    table = games_table(atari.sweeps[0], atari, Console(width=width))
    heads = [str(column.header).replace("\n", " ") for column in table.columns]
    assert heads[3:-3] == columns
    assert str(table.caption) == f"{left_out} more published columns are in report.html"


def test_efficientzeros_column_comes_first_then_those_that_reach_most(atari: Report):
    columns = telling_columns(atari, atari.sweeps[0])
    assert columns[:4] == ["efficientzero", "efficientzero_v2", "bbf", "diamond"]


def test_a_wide_terminal_has_room_for_all_columns_and_seeds(atari: Report):
    table = games_table(atari.sweeps[0], atari, Console(width=250))
    heads = [str(column.header) for column in table.columns]
    assert (len(heads), "seeds" in heads, table.caption) == (3 + 11 + 4, True, None)


def test_names_are_no_markup(tmp_path: Path):
    folder = write_order(tmp_path / "[red]x[", suite="custom", games=["[bold]Maze[/x]"], seeds=[0])
    write_finished(folder, {"[bold]Maze[/x]": [1.0]}, note="[/]")
    text = shown(build_report([read_sweep(folder)]), 120)
    assert "[bold]Maze[/x]" in text
    assert "note=[/]" in text


def test_a_sweep_without_a_finished_run_is_reported(tmp_path: Path):
    result = ez_report(str(write_order(tmp_path)))
    assert (result.exit_code, "not begun: CartPole-v1 seed 0" in result.stdout) == (0, True)
    assert "Normalised scores" not in result.stdout


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["nowhere"], 3, "error: sweep must hold sweep.yaml, got 'nowhere'"),
        (["ftp://host/x"], 2, "sweep must be a local folder or a URI that pyarrow.fs opens"),
        (["a", "a/"], 2, "sweeps must be different folders, got 'a' twice"),
        (["a", "--resamples", "0"], 2, "resamples must be >= 1, got 0"),
    ],
)
def test_a_wrong_order_is_one_line(args: list[str], code: int, text: str):
    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, args)
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_an_out_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "report")
    result = ez_report(str(write_order(tmp_path)), "--out", out)
    assert (result.exit_code, "files must be readable and writable" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    ("sweep", "folder"),
    [
        ("sweeps/a/", "sweeps/a/report"),
        ("s3://bucket/a", "s3://bucket/a/report"),
        ("s3://bucket/a/?region=x/y", "s3://bucket/a/report?region=x/y"),
    ],
)
def test_the_report_lies_in_the_sweeps_folder(sweep: str, folder: str):
    assert report_folder(sweep) == folder


def test_a_report_is_made_without_ray(tmp_path: Path):
    code = (
        "import sys; from cli.report import report; "
        "report([sys.argv[1]], out=None, resamples=50, as_json=False); "
        "print('loaded:', *sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(write_killed(tmp_path))],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.splitlines()[-1].split()
    assert loaded[0] == "loaded:"
    assert "matplotlib" in loaded
    assert "ray" not in loaded
