from __future__ import annotations

import json
from pathlib import Path

import pytest

from rllib_ez.errors import ArchiveError
from tests.cli.conftest import ez
from tests.core.replay.archived import PIXELS, archive, episode


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with three archived episodes of scores 1.5, 2.5 and 3.5."""
    writer = archive(tmp_path / "episodes")
    for id in (1, 2, 3):
        writer.append([episode(id, steps=10 * id, is_first=id != 3)])
    return tmp_path


def test_every_episode_is_a_line_and_a_summary_comes_last(run: Path):
    result = ez("episodes", str(run))
    assert result.exit_code == 0, result.stderr
    head, *rows, last = result.stdout.splitlines()
    assert head.split() == "episode steps score return ended at updates".split()
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert "CartPole-v1, frames 4 float32: 3 episodes, 60 steps, 0.0 MiB in 3 files" in last
    assert "mean score 2.50 (min 1.5, max 3.5)" in last


def test_a_line_tells_how_it_ended_and_what_is_missing(run: Path):
    rows = ez("episodes", str(run)).stdout.splitlines()
    assert rows[2].split()[1:3] + rows[2].split()[4:] == "20 2.5 terminated 2-22".split()
    assert "last 30" in rows[3]
    assert "truncated" in rows[3]


def test_the_archive_itself_can_be_named_by_path_or_uri(run: Path):
    shown = ez("episodes", str(run)).stdout
    assert ez("episodes", str(run / "episodes")).stdout == shown
    assert ez("episodes", (run / "episodes").as_uri()).stdout == shown


def test_only_the_newest_are_listed_if_asked_but_all_are_counted(run: Path):
    _, *rows, last = ez("episodes", str(run), "--last", "2").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["2", "3"]
    assert "3 episodes, 60 steps" in last


def test_long_numbers_are_never_cut(tmp_path: Path):
    id = 2**62 + 12345
    archive(tmp_path).append([episode(id, steps=27000, score=-123456.0, is_first=False)])
    shown = ez("episodes", str(tmp_path)).stdout.replace("\n", " ")
    assert "…" not in shown
    assert "last 27000" in shown


def test_a_long_archive_is_listed_in_part(tmp_path: Path):
    archive(tmp_path).append([episode(id) for id in range(25)])
    assert len(ez("episodes", str(tmp_path)).stdout.splitlines()) == 1 + 20 + 1


def test_all_of_it_as_json(run: Path):
    report = json.loads(ez("episodes", str(run), "--json").stdout)
    rows = report.pop("rows")
    size = sum(path.stat().st_size for path in (run / "episodes").iterdir())
    assert report == {
        **{"env": "CartPole-v1", "frame_shape": [4], "frame_dtype": "float32", "num_actions": 3},
        **{"episodes": 3, "steps": 60, "files": 3, "bytes": size},
        **{"score_mean": 2.5, "score_min": 1.5, "score_max": 3.5},
    }
    assert [row["is_whole"] for row in rows] == [True, True, False]
    assert [row["last_update"] for row in rows] == [11, 22, 33]


def test_json_can_be_cut_to_the_newest(run: Path):
    report = json.loads(ez("episodes", str(run), "--json", "--last", "1").stdout)
    assert [row["episode_id"] for row in report["rows"]] == [3]


def test_pixel_frames_are_told_by_their_shape(tmp_path: Path):
    archive(tmp_path, spec=PIXELS).append([episode(1, spec=PIXELS)])
    assert "pong, frames 6x5x3 uint8" in ez("episodes", str(tmp_path)).stdout


def test_a_torn_file_is_one_line_and_the_rest_is_shown(run: Path):
    torn = run / "episodes" / "shard-0.000000002.parquet"
    torn.write_bytes(b"")
    result = ez("episodes", str(run))
    assert (result.exit_code, "2 episodes, 40 steps" in result.stdout) == (0, True)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"warning: passed over a file that cannot be read: {torn}")


def test_a_missing_archive_is_one_line_and_the_exit_code_of_its_kind(tmp_path: Path):
    result = ez("episodes", str(tmp_path / "nowhere"))
    assert (result.exit_code, len(result.stderr.splitlines())) == (3, 1)
    assert "archive must exist, got" in result.stderr
    assert (ArchiveError.exit_code, ArchiveError.http_status) == (3, 404)


def test_a_folder_without_episodes_is_told(tmp_path: Path):
    result = ez("episodes", str(tmp_path))
    assert (result.exit_code, "with 0 files" in result.stderr) == (3, True)


def test_zero_lines_are_refused(run: Path):
    result = ez("episodes", str(run), "--last", "0")
    assert (result.exit_code, "last must be >= 1, got 0" in result.stderr) == (2, True)


def test_the_command_has_help():
    assert "Lists archived episodes" in ez("episodes", "-h").stdout
