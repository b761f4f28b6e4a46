from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rllib_ez.errors import SettingError
from tests.tuning.sweeps import (
    CARTPOLE,
    row,
    rows,
    write_attempt,
    write_finished,
    write_killed,
    write_order,
    write_search,
)
from tuning.reading import read_sweep
from tuning.report.files import as_json, whole_folder, write_files
from tuning.report.model import Report
from tuning.report.scores import build_report


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Of a sweep that was killed and a search, which share CartPole."""
    folders = [write_killed(tmp_path / "killed"), write_search(tmp_path / "search")]
    return build_report([read_sweep(folder) for folder in folders], num_resamples=50)


@pytest.fixture
def written(report: Report, tmp_path: Path) -> Path:
    folder = tmp_path / "written"
    folder.mkdir()
    write_files(report, folder)
    return folder


def test_the_table_of_rows_has_every_row_of_every_run(report: Report, written: Path):
    runs = [run for sweep in report.sweeps for run in sweep.runs]
    assert pq.read_table(written / "rows.parquet").num_rows == sum(len(run.rows) for run in runs)
    assert len(table(written / "rows.csv")) == sum(len(run.rows) for run in runs)


def test_a_row_is_the_same_in_parquet_as_it_was_reported(report: Report, written: Path):
    first = pq.read_table(written / "rows.parquet").to_pylist()[9]
    assert first == {"sweep": "killed"} | report.sweeps[0].runs[0].rows[9]
    assert first["finished"] is True


def test_a_row_is_text_in_csv_with_nothing_for_none(written: Path):
    rows = table(written / "rows.csv")
    assert [rows[8][name] for name in ("game", "seed", "progress", "finished")] == [
        *("CartPole-v1", "0", "90", "False")
    ]
    assert (rows[8]["evaluation_return"], rows[8]["evaluation_returns"]) == ("", "")
    assert (rows[9]["evaluation_return"], rows[9]["evaluation_returns"]) == ("200.0", "100.0 300.0")


def test_parquet_has_the_types_of_the_values_also_where_there_are_none(tmp_path: Path):
    sweep = read_sweep(write_order(tmp_path / "empty"))
    write_files(build_report([sweep]), tmp_path)
    schema = pq.read_table(tmp_path / "rows.parquet").schema
    assert (str(schema.field("evaluated_at").type), schema.names[0]) == ("int64", "sweep")
    assert str(schema.field("evaluation_returns").type).startswith("list<")


def test_scores_are_those_of_runs_and_of_what_they_are_measured_by(written: Path):
    lines = [
        (line["source"], line["kind"], line["seed"], float(line["score"]))
        for line in table(written / "scores.csv")
        if line["game"] == "CartPole-v1"
    ]
    assert lines == [
        ("killed", "sweep", "0", 200.0),
        ("killed", "sweep", "1", 200.0),
        ("search", "sweep", "0", 200.0),
        ("random", "constant", "", 22.65),
        ("reward threshold of Gymnasium", "constant", "", 475.0),
    ]


def test_best_checkpoints_are_lines_of_their_own_kind(tmp_path: Path):
    write_order(tmp_path / "a", games=["CartPole-v1"], seeds=[0])
    best = row(CARTPOLE, 50, evaluation_return=300.0, evaluated_at=50)
    write_attempt(tmp_path / "a", CARTPOLE, [best, *rows(CARTPOLE, since=50)])
    write_files(build_report([read_sweep(tmp_path / "a")]), tmp_path)
    lines = table(tmp_path / "scores.csv")[:2]
    assert [(line["kind"], line["score"]) for line in lines] == [
        ("sweep", "200.0"),
        ("best_checkpoint", "300.0"),
    ]
    kinds = [line["kind"] for line in table(tmp_path / "aggregates.csv")]
    assert kinds == ["sweep"] * 4 + ["best_checkpoint"] * 4
    (sweep,) = strict_json((tmp_path / "report.json").read_text())["sweeps"]
    assert sweep["best_checkpoint"]["games"][0]["scores"] == {"0": 300.0}
    assert sweep["runs"][0]["best_checkpoint"] == {
        "return_mean": 300.0, "at": 50, "num_evaluations": 2,
    }  # fmt: skip


def test_published_scores_are_normalised_like_ours(tmp_path: Path):
    write_order(tmp_path / "pong", suite="atari57", games=["Pong"], seeds=[0])
    sweep = read_sweep(write_finished(tmp_path / "pong", {"Pong": [-3.05]}))
    write_files(build_report([sweep]), tmp_path)
    found = {line["source"]: line for line in table(tmp_path / "scores.csv")}
    assert float(found["pong"]["normalised"]) == pytest.approx(0.5)
    assert float(found["human"]["normalised"]) == 1.0
    assert found["efficientzero"]["kind"] == "published"
    assert float(found["efficientzero"]["normalised"]) == pytest.approx(40.8 / 35.3)


def test_aggregates_come_with_their_intervals(report: Report, written: Path):
    lines = table(written / "aggregates.csv")
    mean = report.sweeps[0].aggregates["mean"]
    assert [lines[0][name] for name in ("source", "kind", "statistic")] == [
        "killed",
        "sweep",
        "mean",
    ]
    assert [float(lines[0][name]) for name in ("value", "low", "high")] == [
        *(mean.value, mean.low, mean.high)
    ]
    assert [line["low"] for line in lines if line["source"] == "search"] == [""] * 4


def test_the_json_tells_all_but_the_rows(report: Report, written: Path):
    told = strict_json((written / "report.json").read_text())
    first, second = told["sweeps"]
    assert first["runs"][2]["error"] == "RuntimeError: no luck"
    assert (first["runs"][0]["score"], first["games"][0]["scores"]) == (200.0, {"0": 200, "1": 200})
    assert second["best_sample"] == second["samples"][0]["sample"]
    assert told["comparisons"][0]["per_game"] == {"CartPole-v1": 0.5}
    assert first["over_training"] == (10 + 3) / 5


def test_the_json_names_the_files_of_the_report(written: Path):
    told = json.loads((written / "report.json").read_text())["files"]
    assert told == sorted(path.name for path in written.iterdir())


def test_the_json_has_no_numbers_that_json_has_not(report: Report, tmp_path: Path):
    object.__setattr__(report.sweeps[0], "seconds", {"seconds": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_files(report, tmp_path)


def test_a_report_on_nothing_is_written_too(tmp_path: Path):
    report = build_report([read_sweep(write_order(tmp_path / "empty"))])
    write_files(report, tmp_path)
    assert table(tmp_path / "rows.csv") == []
    assert strict_json(json.dumps(as_json(report)))["sweeps"][0]["aggregates"] == {}


@pytest.mark.parametrize("as_uri", [False, True])
def test_files_reach_their_folder_by_path_or_uri(tmp_path: Path, as_uri: bool):
    out = tmp_path / "new" / "report"
    with whole_folder(out.as_uri() if as_uri else out) as folder:
        (folder / "a.csv").write_text("text")
        assert not out.exists()
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("a.csv", "text")]


def test_a_report_that_breaks_off_leaves_the_old_one(tmp_path: Path):
    (tmp_path / "a.csv").write_text("old")

    def break_off() -> None:
        with whole_folder(tmp_path) as folder:
            (folder / "a.csv").write_text("new")
            raise RuntimeError

    pytest.raises(RuntimeError, break_off)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.csv", "old")]


def test_a_file_that_cannot_be_written_leaves_the_old_report(tmp_path: Path):
    (tmp_path / "a.csv").write_text("old")
    (tmp_path / ".b.csv.draft").mkdir()  # in the draft's place
    writing = whole_folder(tmp_path)
    folder = writing.__enter__()
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("new")
    with pytest.raises(OSError, match="draft"):
        writing.__exit__(None, None, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.csv.draft", "a.csv"]
    assert (tmp_path / "a.csv").read_text() == "old"


def test_what_only_an_earlier_report_has_goes_and_other_files_stay(tmp_path: Path):
    for name in ("improvement.png", "mine.txt", "a.csv"):
        (tmp_path / name).touch()
    files = ["improvement.png", "a.csv", "../outside", "gone.png"]
    (tmp_path / "report.json").write_text(json.dumps({"files": files}))
    (tmp_path.parent / "outside").touch()
    with whole_folder(tmp_path) as folder:
        (folder / "a.csv").write_text("new")
        (folder / "report.json").write_text("{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "mine.txt", "report.json"]
    assert (tmp_path.parent / "outside").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": [3]}'])
def test_another_report_json_does_no_harm(tmp_path: Path, text: str):
    (tmp_path / "report.json").write_text(text)
    with whole_folder(tmp_path) as folder:
        (folder / "a.csv").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "report.json"]


def test_a_uri_that_nothing_opens_is_refused():
    with pytest.raises(SettingError, match="out must be a local folder or a URI"):
        whole_folder("ftp://host/report").__enter__()
