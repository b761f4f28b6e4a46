"""Every figure that has data is drawn, for few games and for many."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.tuning import reports
from tuning.report.charts import chosen_column, normalised_scores
from tuning.report.curves import evaluation_points, line_in_range, mean_line, training_points
from tuning.report.figures import draw_figures, save_figures
from tuning.report.look import clipped, short_number
from tuning.report.model import Estimate, Report


def words(figure: Figure) -> set[str]:
    """All text of a figure."""
    return {text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))}


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def curves_of(report: Report) -> Figure:
    return draw_figures(report)["curves"]


@pytest.mark.parametrize("number", [1, 3, 26])
def test_every_game_has_a_panel(number: int):
    games = reports.some(number)
    figure = curves_of(reports.report(reports.sweep(games, 2)))
    assert titles(figure) == list(games)
    assert all(axes.lines for axes in figure.axes)


def test_fifty_seven_games_have_a_panel_each():
    games = {f"Game{index}": (0.0, 10.0) for index in range(57)}
    assert len(curves_of(reports.report(reports.sweep(games, 1))).axes) == 57


def test_all_figures_are_drawn_of_two_sweeps():
    sweeps = [reports.sweep(reports.some(3), 2, name=name) for name in ("first", "second")]
    report = reports.report(*sweeps, comparisons=[reports.comparison("first", "second")])
    names = ["aggregates", "curves", "normalised", "profile", "improvement"]
    assert list(draw_figures(report)) == names


def test_games_without_constants_have_curves_only():
    sweep = reports.sweep({"Untold-v0": (None, None)}, 3)
    assert list(draw_figures(reports.report(sweep, published={}))) == ["curves"]


def test_a_report_without_sweeps_has_no_figure():
    assert draw_figures(reports.report()) == {}


def test_one_game_with_two_runs_has_no_profile():
    assert "profile" not in draw_figures(reports.report(reports.sweep(reports.some(1), 2)))


def test_one_game_with_three_runs_has_a_profile():
    assert "profile" in draw_figures(reports.report(reports.sweep(reports.some(1), 3)))


def test_a_panel_says_why_it_is_empty():
    failed, waiting, early, *_ = curves_of(reports.report(reports.troubled())).axes
    assert any("failed: RuntimeError" in text.get_text() for text in failed.texts)
    assert waiting.texts[0].get_text() == "no finished run:\nnot started yet"
    assert early.texts[0].get_text() == "no finished run:\nno episode has ended yet"


def test_a_panel_says_how_many_runs_are_finished():
    *_, one_row, halfway = curves_of(reports.report(reports.troubled())).axes
    assert one_row.get_title(loc="right") == "unfinished"
    assert halfway.get_title(loc="right") == "1 of 2 finished"


def test_a_single_row_is_a_dot():
    one_row = curves_of(reports.report(reports.troubled())).axes[3]
    assert one_row.lines[0].get_marker() == "."
    np.testing.assert_array_equal(one_row.lines[0].get_xydata(), [[2500, 300]])


def test_a_game_without_a_finished_run_has_no_bar_but_a_word():
    figure = draw_figures(reports.report(reports.troubled()))["normalised"]
    assert "no finished run" in words(figure)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(widths, [(500 - 14.2) / (753.1 - 14.2), 0, 0, 0, 0])


def test_a_score_like_random_is_still_the_best_of_what_is_below():
    games = dict(zip("ab", [(0.0, 1.0), (0.0, 1.0)], strict=True))
    zero = reports.run("a", 0, goal=0.0, start=-1.0)
    below = reports.run("b", 0, goal=-2.0, start=-1.0)
    figure = draw_figures(reports.report(reports.sweep(games, 0, runs=[below, zero])))["normalised"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert "no finished run" not in words(figure)


def test_aggregates_without_a_value_are_not_drawn():
    nothing = {key: Estimate(value=float("nan")) for key in reports.KEYS}
    sweep = reports.sweep(reports.some(2), 1, aggregates=nothing)
    assert "aggregates" not in draw_figures(reports.report(sweep))


def test_a_sweep_with_an_underscore_is_in_every_legend():
    report = reports.report(reports.sweep(reports.some(2), 2, name="_mine"))
    figures = draw_figures(report)
    assert all("_mine" in words(figures[name]) for name in ("curves", "normalised", "profile"))


def test_a_name_with_dollars_is_no_formula(tmp_path: Path):
    figures = draw_figures(reports.report(reports.sweep({r"$\frac$": (0.0, 1.0)}, 1)))
    save_figures({"curves": figures["curves"]}, tmp_path)
    assert r"$\frac$" in (tmp_path / "curves.svg").read_text()


def test_figures_become_png_and_valid_svg(tmp_path: Path):
    figures = draw_figures(reports.report(reports.troubled()))
    paths = save_figures(figures, tmp_path / "new")
    names = [f"{name}.{kind}" for name in figures for kind in ("png", "svg")]
    assert [path.name for path in paths] == names
    assert all(ET.parse(path).getroot().tag.endswith("svg") for path in paths[1::2])


def test_no_picture_is_empty(tmp_path: Path):
    paths = save_figures(draw_figures(reports.report(reports.troubled())), tmp_path)
    shades = [len(np.unique(np.asarray(Image.open(path).convert("L")))) for path in paths[::2]]
    assert min(shades) > 30


def test_the_same_report_gives_the_same_file(tmp_path: Path):
    report = reports.report(reports.sweep(reports.some(2), 1))
    for name in "ab":
        save_figures(draw_figures(report), tmp_path / name)
    assert (tmp_path / "a/curves.svg").read_bytes() == (tmp_path / "b/curves.svg").read_bytes()


def test_training_points_leave_out_what_is_unknown():
    rows = [reports.row(10, None), reports.row(20, 1.5), reports.row(30, float("nan"))]
    steps, returns = training_points(reports.run("a", 0, goal=1, start=0, rows=rows))
    assert (steps.tolist(), returns.tolist()) == ([20], [1.5])


def test_an_evaluation_is_one_point_however_often_it_is_told():
    told = {"evaluated_at": 20, "evaluation_return": 3.0}
    rows = [reports.row(10, None)] + [reports.row(at, 1.0, **told) for at in (20, 30, 40)]
    steps, returns = evaluation_points(reports.run("a", 0, goal=1, start=0, rows=rows))
    assert (steps.tolist(), returns.tolist()) == ([20], [3.0])


def test_the_mean_goes_as_far_as_all_runs_have_come():
    short = (np.array([10.0, 20.0]), np.array([0.0, 10.0]))
    long = (np.array([0.0, 40.0]), np.array([0.0, 40.0]))
    steps, returns = mean_line([short, long])
    assert (steps[0], steps[-1]) == (10, 20)
    np.testing.assert_allclose([returns[0], returns[-1]], [5.0, 15.0])


def test_runs_with_nothing_in_common_have_no_mean():
    early, late = ((np.array([at, at + 1.0]), np.ones(2)) for at in (0.0, 5.0))
    assert len(mean_line([early, late])[0]) == 0


def test_a_far_reference_is_not_in_range():
    returns = np.array([100.0, 200.0])
    assert line_in_range(340.0, returns, 0.0)
    assert not line_in_range(360.0, returns, 0.0)
    assert not line_in_range(-60.0, returns, 0.0)


def test_scores_are_normalised_run_by_run():
    sweep = reports.sweep({"a": (10.0, 20.0), "b": (None, None)}, 2)
    scores = normalised_scores(sweep)
    assert list(scores) == ["a"]
    np.testing.assert_allclose(scores["a"], [0.2, 0.26])


def test_efficientzero_is_the_column_to_compare_with():
    assert chosen_column(reports.report(reports.sweep(reports.some(1), 1))) == "efficientzero"


def test_no_column_is_chosen_where_none_is_published():
    assert chosen_column(reports.report(reports.sweep({"a": (None, None)}, 1))) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-21, "−21"), (0.05, "0.05"), (12_500, "12.5k"), (2e6, "2M"), (np.nan, "")],
)
def test_ticks_are_short(value: float, text: str):
    assert short_number(value) == text


def test_clipped_text_is_printable_and_short():
    assert clipped("\x1b[31mred\x1b[0m\n alarm\x00 bell", 12) == "red alarm b…"
