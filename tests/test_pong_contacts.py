"""Balls in drawn frames: found, followed to their end, and judged."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pong_contacts import auc, bounced, flights_of, summary, table, track
from rllib_ez.core.types import Segment

SIZE = 96


def screen(ball: tuple[float, float] | None, paddle: float) -> np.ndarray:
    """One gray frame [S, S, 1] with a ball and our paddle at ALE's pixels."""
    frame = np.full((210, 160), 87, np.uint8)
    frame[:34] = 200  # the score
    if ball is not None:
        x, y = round(ball[0]), round(ball[1])
        frame[y - 2 : y + 2, x - 1 : x + 1] = 236
    frame[round(paddle) - 8 : round(paddle) + 8, 140:144] = 147
    blocks = np.linspace(0, 210, SIZE + 1).astype(int), np.linspace(0, 160, SIZE + 1).astype(int)
    rows = np.add.reduceat(frame.astype(float), blocks[0][:-1], axis=0)
    means = np.add.reduceat(rows, blocks[1][:-1], axis=1) / np.outer(
        np.diff(blocks[0]), np.diff(blocks[1])
    )
    return means[..., None].astype(np.uint8)


def game(balls, rewards, values, *, paddle: float = 100.0, policy=(0, 0, 1, 0, 0, 0)) -> Segment:
    """A game in which the ball stands at `balls` [T], one of them a step."""
    return Segment(
        episode_id=0,
        is_first=True,
        frames=np.stack([screen(ball, paddle) for ball in balls]),
        action=np.zeros(len(balls), np.int32),
        reward=np.array(rewards, np.float32),
        policy=np.tile(np.array(policy, np.float32), (len(balls), 1)),
        root_value=np.array(values, np.float32),
        terminated=False,
        truncated=False,
        collected_at_update=0,
    )


def test_ball_and_paddle_are_found_to_two_pixels():
    x, y, paddle = track(np.stack([screen((120, 60), 100), screen(None, 150)]))
    assert (x[0], y[0], paddle[0]) == pytest.approx((120, 60, 100), abs=2)
    assert np.isnan(x[1])
    assert paddle[1] == pytest.approx(150, abs=2)


def test_a_ball_that_flies_back_was_returned():
    path = [(110, 60), (118, 64), (126, 68), None, (126, 76), (118, 80)]
    [flight] = flights_of(game(path, [0] * 6, [1, 2, 3, 4, 5, 6]))
    assert flight.returned
    assert flight.value.tolist() == [2, 3]
    # From (126, 68) on, 4 down for 8 to the right: at x = 137 it is at 73.5, 26.5 above 100.
    assert flight.above[-1] == pytest.approx(26.5, abs=5)
    assert flight.steer.tolist() == [1, 1]


def test_a_ball_that_costs_a_point_was_not_returned():
    path = [(110, 60), (118, 64), (126, 68), None, None]
    [flight] = flights_of(game(path, [0, 0, 0, 0, -1], [0] * 5))
    assert not flight.returned


def test_a_ball_whose_end_was_not_seen_does_not_count():
    path = [(110, 60), (118, 64), (126, 68)]
    assert flights_of(game(path, [0] * 3, [0] * 3)) == []


@pytest.mark.parametrize(("straight", "end"), [(100, 100), (30, 38), (200, 188), (-150, 170)])
def test_walls_throw_the_ball_back(straight, end):
    """-150 is 184 above the top at 34: 160 down to the bottom at 194, and 24 up again."""
    assert bounced(np.array([straight])) == pytest.approx(end)


def test_auc_of_a_hand_case():
    """Of the 4 pairs, 2 and a tie are in order: 2.5 / 4."""
    score, label = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert auc(score, label) == pytest.approx(2.5 / 4)
    assert np.isnan(auc(score, np.ones(4, bool)))


def test_games_are_summed_up_and_shown():
    back = [(110, 60), (118, 64), (126, 68), None, (126, 76), (118, 80)]
    lost = [(110, 60), (118, 64), (126, 68), None, None]
    row = summary([game(back, [0] * 6, [-1] * 6), game(lost, [0, 0, 0, 0, -1], [-2] * 5)])
    assert (row["balls"], row["returned"], row["auc"], row["score"]) == (2, 0.5, 1.0, -0.5)
    assert row["steered"] is None  # none was to be met below
    assert "| 0.50 | 1.00 | - |" in table([{"run": "a", "env_steps": 11, **row}])
