"""The page is one file that says all of the report and lets nothing in."""

from __future__ import annotations

import base64
import hashlib
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.tuning import reports
from tuning.report import inline, page
from tuning.report.figures import draw_figures
from tuning.report.model import BestScores, Estimate, Foot, Made, Report
from tuning.report.page import write_page

VOID = {"meta", "br", "img", "link", "input", "hr"}
EVIL = "<script>alert('in')</script>"


class Reader(HTMLParser):
    """Collects what a page holds; raises where its elements don't close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"</{tag}> must close the element last opened, line {self.getpos()}")

    def handle_data(self, data):
        self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    def values(self, attribute: str) -> list[str | None]:
        return [found[attribute] for _, found in self.tags if attribute in found]


def text_of(report: Report, folder: Path, *, with_figures: bool = False) -> str:
    figures = draw_figures(report) if with_figures else {}
    return write_page(report, folder, figures).read_text(encoding="utf-8")


def two_sweeps(**changes: object) -> Report:
    sweeps = [reports.sweep(reports.some(3), 2, name=name) for name in ("first", "second")]
    return reports.report(*sweeps, comparisons=[reports.comparison("first", "second")], **changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of two sweeps with all figures."""
    return text_of(two_sweeps(), tmp_path_factory.mktemp("page"), with_figures=True)


def test_the_page_lies_in_a_new_folder(tmp_path: Path):
    path = write_page(two_sweeps(), tmp_path / "deep/er", {})
    assert path == tmp_path / "deep/er/report.html"
    assert path.is_file()


def test_elements_close_in_order(whole: str):
    assert Reader(whole).open == []


def test_the_reader_notices_what_does_not_close():
    with pytest.raises(ValueError, match="</td>"):
        Reader("<table><td><b></td></table>")


def test_nothing_is_loaded(whole: str):
    reader = Reader(whole)
    assert reader.count("link") == reader.count("img") == reader.count("iframe") == 0
    assert reader.values("src") == []
    outside = [link for link in reader.values("href") if link and not link.startswith("#")]
    assert outside == ["https://arxiv.org/abs/2111.00210"]
    assert re.findall(r"https?://", whole) == ["https://"] * 2  # that link and its text


def test_no_style_reaches_out(whole: str):
    assert "@import" not in whole
    assert set(re.findall(r"url\((.)", whole)) <= {"#"}


def test_no_id_is_there_twice(whole: str):
    ids = Reader(whole).values("id")
    assert len(ids) == len(set(ids))


def test_every_reference_within_the_page_has_its_aim(whole: str):
    reader = Reader(whole)
    aims = {f"#{name}" for name in reader.values("id")}
    within = {link for link in reader.values("href") if link and link.startswith("#")}
    assert within | set(re.findall(r"url\((#.+?)\)", whole)) <= aims


def test_every_figure_is_inlined_as_valid_svg_with_a_label(whole: str):
    found = re.findall(r"<svg.*?</svg>", whole, re.DOTALL)
    assert len(found) == 5
    for text in found:
        svg = ET.fromstring(text)
        assert svg.attrib["role"] == "img"
        assert "Alien" in svg.attrib["aria-label"]
        assert len(svg.findall(".//path")) > 3


def test_figures_follow_the_colours_of_the_page(whole: str):
    assert "#1b1f24" not in "".join(re.findall(r"<svg.*?</svg>", whole, re.DOTALL))
    assert "fill: var(--ink)" in whole


def test_a_large_figure_becomes_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inline, "LARGEST_SVG", 100)
    reader = Reader(text_of(two_sweeps(), tmp_path, with_figures=True))
    assert reader.count("svg") == 0
    assert all(
        (src or "").startswith("data:image/png;base64,iVBOR") for src in reader.values("src")
    )
    assert len(reader.values("alt")) == 5


@pytest.mark.parametrize("number", [1, 26])
def test_every_game_is_in_the_table(number: int, tmp_path: Path):
    games = reports.some(number)
    text = text_of(reports.report(reports.sweep(games, 1)), tmp_path)
    assert all(f'<th scope="row">{game}</th>' in text for game in games)


def test_names_and_errors_from_outside_are_escaped(tmp_path: Path):
    failed = reports.run(EVIL, 0, goal=1.0, start=0.0, rows=[], error=f"Error: {EVIL}")
    runs = [failed, reports.run(EVIL, 1, goal=1.0, start=0.0)]
    sweep = reports.sweep({EVIL: (0.0, 1.0)}, 0, runs=runs, name=EVIL, notes=[EVIL])
    report = reports.report(sweep, title=EVIL, reference_name=EVIL, sources=[EVIL], made=EVIL)
    text = text_of(report, tmp_path, with_figures=True)
    assert "<script>alert" not in text
    assert Reader(text).count("script") == 1


def test_only_our_own_script_may_run(whole: str):
    script = re.search(r"<script>(.*?)</script>", whole, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(value for value in Reader(whole).values("content") if "default-src" in value)
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_errors_lose_their_terminal_colours(tmp_path: Path):
    text = text_of(reports.report(reports.troubled()), tmp_path)
    assert "RuntimeError: &lt;script&gt;" in text
    assert "\x1b" not in text
    assert "[0m" not in text


def test_all_parts_of_the_report_are_told(tmp_path: Path):
    sweep = reports.sweep(reports.some(2), 2, notes=["one run is left out"])
    text = text_of(reports.report(sweep), tmp_path)
    for told in (
        "one run is left out",
        sweep.protocol,
        "2026-11-22",
        "arxiv.org",
        "atari100k",
    ):
        assert told in text


def test_a_game_without_a_finished_run_says_so(tmp_path: Path):
    text = text_of(reports.report(reports.troubled()), tmp_path)
    assert text.count("no finished run") == 4


def test_samples_of_a_search_are_told_with_their_settings(tmp_path: Path):
    text = text_of(reports.report(reports.searched()), tmp_path)
    for told in ("0badcafe", "1f2e3d4c", ">lr<", ">value_transform<", ">0.01<", ">1.010<"):
        assert told in text


def test_intervals_stand_beside_their_estimates(tmp_path: Path):
    text = text_of(two_sweeps(), tmp_path)
    assert "[0.550, 0.800]" in text
    assert text.count("1.943") == 4


def test_the_best_checkpoints_table_is_titled_as_such(tmp_path: Path):
    sweep = reports.sweep(reports.some(1), 2)
    best = BestScores(title="highest of 7", games=sweep.games, aggregates=sweep.aggregates)
    reader = Reader(text_of(reports.report(replace(sweep, best=best)), tmp_path))
    without = Reader(text_of(reports.report(sweep), tmp_path))
    assert reader.count("table") == without.count("table") + 1
    text = text_of(reports.report(replace(sweep, best=best)), tmp_path)
    assert ">highest of 7</span></caption>" in text
    assert "atari, best checkpoint (biased upwards)" in text


def test_the_foot_tells_what_made_the_runs(tmp_path: Path):
    made = Made(
        runs=[("Pong", 0), ("Pong", 1)],
        seconds=(4.51, 200.0),
        machines=(1,),
        commits=("abc1234",),
        config_hashes=("0123456789ab",),
    )
    foot = Foot(machines=["a Xeon, 8 cores, an H200"], lines=[made])
    text = text_of(reports.report(reports.sweep(reports.some(1), 1, foot=foot)), tmp_path)
    for told in ("Pong seeds 0, 1", "4.5 s to 3 min 20 s", "abc1234", "0123456789ab", "an H200"):
        assert told in text


def test_an_unknown_aggregate_is_a_dash(tmp_path: Path):
    sweep = reports.sweep(reports.some(1), 1, aggregates={"mean": Estimate(value=float("nan"))})
    text = text_of(reports.report(sweep, published={}), tmp_path)
    assert "nan" not in "".join(Reader(text).text)


def test_every_head_has_a_scope_and_every_table_a_caption(whole: str):
    reader = Reader(whole)
    assert all("scope" in found for tag, found in reader.tags if tag == "th")
    assert reader.count("caption") == reader.count("table") > 5


def test_a_report_without_sweeps_is_a_page(tmp_path: Path):
    assert Reader(text_of(reports.report(published={}), tmp_path)).count("table") == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (12345.6, "12,346"), (-321.04, "−321.0"), (7.125, "7.12"), (float("inf"), "–")],
)
def test_numbers_are_short(value: float | None, text: str):
    assert page.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.51, "4.5 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (None, "–")],
)
def test_durations_are_for_people(seconds: float | None, text: str):
    assert page.duration(seconds) == text


def test_the_state_of_a_run_says_how_far_it_is():
    failed, waiting, early, one_row, done, half = reports.troubled().runs
    states = [page.state(run) for run in (failed, waiting, one_row, done, half)]
    assert states == ["failed", "not started", "2 %", "finished", "50 %"]
    assert page.state(replace(half, error="RuntimeError")) == "failed at 50 %"


def test_times_tell_what_a_run_costs_over_training_alone():
    sweep = reports.sweep(reports.some(1), 1, seconds={"seconds": 90.0, "training_seconds": 60.0})
    assert page.times(sweep)[-1][1] == "1.50 times"
