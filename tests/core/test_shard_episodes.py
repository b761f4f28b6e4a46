"""What a shard does with whole episodes: scores, the archive, lost runners, files."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rllib_ez.core.random import EPISODES_PER_RUNNER
from rllib_ez.core.replay_shard import MOST_UNWRITTEN, ReplayShard
from rllib_ez.core.types import Episode as WholeEpisode
from rllib_ez.core.types import Segment
from rllib_ez.errors import ArchiveError, CheckpointError
from tests.core.episodes import (
    Episode,
    Oracle,
    RandomLife,
    assert_same_batches,
    make_shard,
    order_of,
    random_episode,
    search,
    step_score,
)


class Archive:
    """Takes episodes, or refuses them."""

    def __init__(self) -> None:
        self.episodes: list[WholeEpisode] = []
        self.is_broken = False
        self.num_tries = 0

    def write(self, episodes) -> None:
        self.num_tries += 1
        if self.is_broken:
            raise ArchiveError("episode_archive must be writable, got a full disk")
        self.episodes += episodes

    def ids(self) -> list[int]:
        return [episode.episode_id for episode in self.episodes]


def whole(id: int, *, steps: int = 3, end: str = "terminated") -> Episode:
    return random_episode(np.random.default_rng(id), id, steps=steps, end=end)


def score_of(id: int, *, steps: int) -> float:
    return sum(step_score(id, t) for t in range(steps))


def add_one(shard: ReplayShard, id: int) -> tuple[str, ...]:
    """One more episode of three steps; the notes."""
    return shard.add(whole(id).segments([])).notes


def test_an_episode_of_one_segment_is_archived_whole():
    archive = Archive()
    shard, episode = make_shard(write_episodes=archive.write), whole(4)
    assert shard.add(episode.segments([])).num_episodes == 1
    (written,) = archive.episodes
    assert (written.episode_id, written.score) == (4, 0 + 1.5 + 3 - 3 * 4)
    assert (written.is_first, written.terminated) == (True, True)
    assert written.frames[:, 0].tolist() == [4000, 4001, 4002, 4003]
    np.testing.assert_array_equal(written.reward, episode.reward)


def test_scores_of_segments_are_summed_over_calls():
    archive = Archive()
    shard = make_shard(write_episodes=archive.write)
    for segment in whole(2, steps=5, end="truncated").segments([1, 3]):
        assert archive.num_tries == 0
        shard.add([segment])
    (written,) = archive.episodes
    assert written.score == score_of(2, steps=5) == 5.0
    assert (len(written.action), written.terminated) == (5, False)


@pytest.mark.parametrize("seed", range(4))
def test_every_episode_of_a_random_life_is_archived_once_with_its_score(seed: int):
    life, archive, expected = RandomLife(seed), Archive(), defaultdict(float)
    shard, ended = make_shard(capacity=500, write_episodes=archive.write), []
    for _ in range(60):
        segments = life.segments(int(life.rng.integers(1, 5)))
        status = shard.add(segments)
        for segment in segments:
            expected[segment.episode_id] += segment.score
            ended += [segment.episode_id] if segment.ended else []
        assert archive.ids() == ended
        assert status.num_episodes == len(ended)
    for written in archive.episodes:
        episode = life.begun[written.episode_id]
        assert (
            written.score == expected[episode.id] == score_of(episode.id, steps=len(episode.action))
        )
        np.testing.assert_array_equal(written.action, episode.action)
        assert written.terminated == (episode.end == "terminated")


def test_without_an_archive_episodes_are_counted_all_the_same():
    shard = make_shard()
    shard.add(whole(1).segments([1])[:1])
    assert shard.status().num_episodes == 0
    assert shard.add(whole(1).segments([1])[1:]).num_episodes == 1
    assert (add_one(shard, 2), shard.num_episodes) == ((), 2)


def test_an_archive_that_fails_gets_its_episodes_at_the_next_add():
    archive = Archive()
    shard = make_shard(write_episodes=archive.write)
    archive.is_broken = True
    assert add_one(shard, 1) == (
        "episode_archive must be writable, got a full disk (1 episodes wait)",
    )
    assert "(2 episodes wait)" in add_one(shard, 2)[0]
    assert shard.num_episodes == 0
    archive.is_broken = False
    status = shard.add(whole(3, end="").segments([]))  # ends nothing
    assert (archive.ids(), status.num_episodes, status.notes) == ([1, 2], 2, ())
    assert add_one(shard, 4) == ()
    assert archive.ids() == [1, 2, 4]


def test_episodes_that_wait_are_copies():
    archive = Archive()
    shard = make_shard(capacity=8, write_episodes=archive.write)
    archive.is_broken = True
    add_one(shard, 1)
    add_one(shard, 2)
    archive.is_broken = False
    add_one(shard, 3)  # over all of episode 1
    assert [e.frames[0, 0] for e in archive.episodes] == [1000, 2000, 3000]
    assert all(e.is_first for e in archive.episodes)


def test_an_archive_that_fails_for_long_stops_the_run():
    archive = Archive()
    shard = make_shard(write_episodes=archive.write)
    archive.is_broken = True
    for id in range(MOST_UNWRITTEN):
        add_one(shard, id)
    with pytest.raises(ArchiveError, match="full disk"):
        add_one(shard, MOST_UNWRITTEN)
    archive.is_broken = False
    add_one(shard, 99)
    assert archive.ids() == [*range(MOST_UNWRITTEN + 1), 99]


def test_an_episode_overwritten_in_the_call_that_ended_it_is_noted():
    archive = Archive()
    shard = make_shard(capacity=8, write_episodes=archive.write)
    long, short = whole(1, steps=6), whole(2, steps=7)
    notes = shard.add([*long.segments([]), *short.segments([])]).notes
    assert notes == ("1 episodes did not fit into replay and are not archived",)
    assert (archive.ids(), shard.num_episodes) == ([2], 1)
    assert archive.episodes[0].score == score_of(2, steps=7)


def test_notes_and_seconds_are_handed_out_once():
    shard = make_shard(write_episodes=Archive().write, capacity=4)
    status = shard.add([*whole(1).segments([]), *whole(2).segments([])])
    assert (len(status.notes), set(status.seconds)) == (1, {"replay", "archive"})
    status = shard.status()
    assert (status.notes, status.seconds) == ((), {})


def test_warm_steps_are_neither_counted_nor_archived():
    archive = Archive()
    shard = make_shard(write_episodes=archive.write)
    status = shard.add(whole(1).segments([]), warm=True)
    assert (status.num_env_steps, status.num_episodes, status.num_positions) == (0, 0, 3)
    status = shard.add(whole(2).segments([1]))
    assert (status.num_env_steps, status.num_episodes, status.num_positions) == (3, 1, 6)
    assert archive.ids() == [2]


def test_a_wrong_segment_leaves_scores_and_episodes_alone():
    archive = Archive()
    shard = make_shard(write_episodes=archive.write)
    first, last = whole(1, steps=4).segments([2])
    shard.add([first])
    with pytest.raises(ValueError, match=r"segments\[1\].reward"):
        shard.add([last, replace(last, episode_id=7, reward=last.reward[:1])])
    shard.add([last])
    assert [episode.score for episode in archive.episodes] == [score_of(1, steps=4)]


def begun(runner: int, number: int) -> Segment:
    """The first steps of an episode of an env runner."""
    (segment,) = whole(1, end="").segments([])
    return replace(segment, episode_id=runner * EPISODES_PER_RUNNER + number)


def test_close_runner_closes_that_runners_episodes_and_no_others():
    shard = make_shard()
    open_ones = [(0, 0), (1, 0), (1, EPISODES_PER_RUNNER - 1), (2, 0), (11, 1)]
    shard.add([begun(*at) for at in open_ones])
    status = shard.close_runner(1)
    assert [divmod(e, EPISODES_PER_RUNNER) for e in shard.replay.open_episodes] == [
        (0, 0), (2, 0), (11, 1)
    ]  # fmt: skip
    assert status.num_positions == 5 * 3 - 2  # two last steps became final observations
    assert shard.close_runner(5).num_positions == 13


def test_a_closed_episode_has_no_score_and_is_not_archived():
    archive = Archive()
    shard = make_shard(write_episodes=archive.write)
    segments = whole(1, steps=4).segments([2])
    shard.add(segments[:1])
    shard.close_episodes([1, 77])
    assert (archive.ids(), shard.num_episodes) == ([], 0)
    shard.add(segments[1:])  # its end, late: an episode of its own
    assert archive.episodes[0].score == segments[1].score


def saved(folder: Path) -> ReplayShard:
    """A shard with open episodes, warm steps, remembered targets and an unfinished draw."""
    shard = make_shard(frame_stack=2)
    shard.add(whole(900).segments([]), warm=True)
    shard.add(RandomLife(0).segments(30))
    shard.add(whole(901, steps=5).segments([2])[:1])
    finished = order_of(0)
    shard.finish(0, *search(finished, shard.draw(finished), Oracle()))
    shard.draw(order_of(1))
    shard.save(folder)
    return shard


def test_a_shard_comes_back_from_its_files(tmp_path: Path):
    shard, other = saved(tmp_path), make_shard(frame_stack=2)
    assert other.load(tmp_path) == replace(shard.status(), seconds={})
    shard.forget_draws()
    for number in (1, 2):
        order, oracle = order_of(number), Oracle()
        asked, expected = other.draw(order), shard.draw(order)
        assert [b.position.tolist() for b in asked] == [b.position.tolist() for b in expected]
        assert_same_batches(
            other.finish(number, *search(order, asked, oracle)),
            shard.finish(number, *search(order, expected, oracle)),
        )


def test_scores_of_open_episodes_come_back(tmp_path: Path):
    saved(tmp_path)
    archive = Archive()
    other = make_shard(frame_stack=2, write_episodes=archive.write)
    other.load(tmp_path)
    other.add(whole(901, steps=5).segments([2])[1:])
    assert (archive.ids(), archive.episodes[0].score) == ([901], score_of(901, steps=5))


def test_only_open_episodes_keep_a_score(tmp_path: Path):
    shard = saved(tmp_path)
    kept = json.loads((tmp_path / "shard.json").read_text())["scores"]
    assert sorted(map(int, kept)) == sorted(shard.replay.open_episodes)


def test_loading_forgets_what_was_there(tmp_path: Path):
    saved(tmp_path)
    other = make_shard(frame_stack=2)
    other.add([*whole(1).segments([]), *whole(901, end="").segments([])])
    other.draw(order_of(7))
    other.load(tmp_path)
    with pytest.raises(KeyError):
        other.finish(7)
    assert 901 in other.replay.open_episodes


def test_loading_forgets_episodes_that_wait_for_their_archive(tmp_path: Path):
    saved(tmp_path)
    archive = Archive()
    other = make_shard(frame_stack=2, write_episodes=archive.write)
    archive.is_broken = True
    add_one(other, 1)
    other.load(tmp_path)
    archive.is_broken = False
    before = other.num_episodes
    add_one(other, 2)
    assert (archive.ids(), other.num_episodes) == ([2], before + 1)


@pytest.mark.parametrize("name", ["shard.json", "target_cache.npz"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_files_that_are_not_whole_are_refused(tmp_path: Path, name: str, damage: str):
    saved(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="checkpoint must be complete"):
        make_shard(frame_stack=2).load(tmp_path)
