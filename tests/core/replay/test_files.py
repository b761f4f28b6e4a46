"""Tests that a saved replay comes back as it was, and a damaged one does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rllib_ez.errors import CheckpointError


def fill(replay, make_segment, *, rounds: int, first: int = 0) -> None:
    rng = np.random.default_rng(first)
    for episode in range(first, first + rounds):
        replay.add([make_segment(episode, 0, 5), make_segment(episode + 900, 0, 2)])
        replay.add([make_segment(episode, 5, 9, end=["", "terminated"][episode % 2])])
        sample = replay.sample(6, rng=rng, update=episode)
        replay.update_priorities(sample.slot, sample.generation, rng.random(6) * 3)


@pytest.fixture(params=[40, 400], ids=["gone round", "part used"])
def replay(request, make_replay, make_segment):
    """A replay with priorities, open episodes and stacks of three."""
    replay = make_replay(request.param, frame_stack=3)
    fill(replay, make_segment, rounds=6)
    return replay


@pytest.fixture
def twin(replay, make_replay):
    """An empty replay of the same settings."""
    return make_replay(replay.capacity, frame_stack=3)


def test_state_comes_back_exactly(replay, twin):
    twin.set_state(replay.get_state())
    np.testing.assert_equal(twin.get_state(), replay.get_state())


def test_resumed_replay_goes_on_as_the_first_would(replay, twin, make_segment):
    twin.set_state(replay.get_state())
    for one in (replay, twin):
        fill(one, make_segment, rounds=4, first=50)
    np.testing.assert_equal(twin.get_state(), replay.get_state())
    samples = [r.sample(32, rng=np.random.default_rng(3), update=9) for r in (replay, twin)]
    for name in samples[0].__slots__:
        np.testing.assert_array_equal(getattr(samples[0], name), getattr(samples[1], name))


def test_state_is_a_copy(replay, make_segment):
    state = replay.get_state()
    kept = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in state.items()}
    fill(replay, make_segment, rounds=3, first=50)
    np.testing.assert_equal(state, kept)


def test_files_come_back_exactly(replay, twin, tmp_path):
    replay.save(tmp_path / "replay")
    twin.load(tmp_path / "replay")
    np.testing.assert_equal(twin.get_state(), replay.get_state())


def test_empty_replay_comes_back(make_replay, tmp_path):
    make_replay().save(tmp_path)
    twin = make_replay()
    twin.load(tmp_path)
    assert (twin.num_sampleable, twin.num_steps_added) == (0, 0)


def test_large_files_come_back_exactly(make_replay, make_segment, tmp_path):
    settings = {"frame_shape": (512, 512, 1), "frame_dtype": np.uint8}
    replay, twin = make_replay(16, **settings), make_replay(16, **settings)
    frames = np.random.default_rng(0).integers(256, size=(6, 512, 512, 1), dtype=np.uint8)
    replay.add([make_segment(1, 0, 5, end="terminated", frames=frames)])
    replay.save(tmp_path)
    twin.load(tmp_path)
    np.testing.assert_array_equal(twin.frame, replay.frame)


def test_replay_can_be_saved_over_the_files_it_came_from(replay, twin, tmp_path):
    replay.save(tmp_path)
    twin.load(tmp_path)
    twin.save(tmp_path)
    replay.load(tmp_path)
    np.testing.assert_equal(twin.get_state(), replay.get_state())


def test_missing_folder_is_told_by_name(twin, tmp_path):
    with pytest.raises(CheckpointError, match=r"missing a file: .*replay.json"):
        twin.load(tmp_path / "nowhere")


def test_missing_array_is_told_by_name(replay, twin, tmp_path):
    replay.save(tmp_path)
    (tmp_path / "context.npy").unlink()
    with pytest.raises(CheckpointError, match=r"missing a file: .*context.npy"):
        twin.load(tmp_path)


def test_torn_array_is_refused(replay, twin, tmp_path):
    replay.save(tmp_path)
    content = (tmp_path / "context.npy").read_bytes()
    (tmp_path / "context.npy").write_bytes(content[:-20])
    with pytest.raises(CheckpointError, match="is torn"):
        twin.load(tmp_path)


def test_interrupted_save_leaves_nothing_that_loads(replay, twin, tmp_path, monkeypatch):
    replay.save(tmp_path)
    monkeypatch.setattr(np, "save", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        replay.save(tmp_path)
    with pytest.raises(CheckpointError, match=r"missing a file: .*replay.json"):
        twin.load(tmp_path)


def test_newer_format_is_refused(replay, twin, tmp_path):
    replay.save(tmp_path)
    index = json.loads((tmp_path / "replay.json").read_text())
    (tmp_path / "replay.json").write_text(json.dumps({**index, "format": 4}))
    with pytest.raises(CheckpointError, match="must be of format 1 to 3, got 4"):
        twin.load(tmp_path)


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"format": 3}', '{"numbers": {}}'])
def test_foreign_index_is_refused(twin, tmp_path, index):
    (tmp_path / "replay.json").write_text(index)
    with pytest.raises(CheckpointError, match="is torn"):
        twin.load(tmp_path)


def write_format_1(folder, state) -> None:
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    numbers = {name: value for name, value in state.items() if name not in arrays}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    index = {"format": 1, "numbers": numbers, "arrays": sorted(arrays)}
    (folder / "replay.json").write_text(json.dumps(index))


def test_format_1_is_read(replay, twin, tmp_path):
    write_format_1(tmp_path, replay.get_state())
    twin.load(tmp_path)
    np.testing.assert_equal(twin.get_state(), replay.get_state())


def test_format_1_without_stacks_knows_no_beginnings(make_replay, make_segment, tmp_path):
    replay = make_replay(frame_stack=1)
    replay.add([make_segment(1, 0, 3, end="terminated")])
    write_format_1(tmp_path, {**replay.get_state(), "context": np.zeros(4, np.uint8)})
    replay.load(tmp_path)
    assert replay.context[:4].tolist() == [0, 1, 1, 1]
    assert not replay.read_episode(3, episode_id=1, score=0.0).is_first
    assert replay.num_sampleable == 3


def test_save_over_format_1_leaves_none_of_its_columns(replay, twin, tmp_path):
    write_format_1(tmp_path, replay.get_state())
    twin.load(tmp_path)
    twin.save(tmp_path)
    assert not (tmp_path / "frame.npy").exists()
    replay.load(tmp_path)
    np.testing.assert_equal(twin.get_state(), replay.get_state())


def test_other_settings_are_refused_and_change_nothing(replay, make_replay, make_segment):
    other = make_replay(replay.capacity, frame_stack=2)
    other.add([make_segment(1, 0, 3)])
    with pytest.raises(CheckpointError, match="frame_stack must be that of the saved replay, 3"):
        other.set_state(replay.get_state())
    assert other.num_positions == 3


def test_other_frames_are_refused(replay, twin):
    state = replay.get_state()
    with pytest.raises(CheckpointError, match="frame must be float32"):
        twin.set_state({**state, "frame": state["frame"].astype(np.uint8)})


def test_more_positions_than_the_ring_holds_are_refused(replay, twin):
    with pytest.raises(CheckpointError, match=r"num_used must be in \[0, .*, got 1000"):
        twin.set_state({**replay.get_state(), "num_used": 1000})


def test_state_with_a_missing_part_is_refused(replay, twin):
    state = replay.get_state()
    del state["mass"]
    with pytest.raises(CheckpointError, match="must hold"):
        twin.set_state(state)


def test_damaged_links_are_refused_and_leave_it_empty(replay, twin):
    state = replay.get_state()
    state["prev_slot"][5] = 17
    with pytest.raises(CheckpointError, match="state is damaged"):
        twin.set_state(state)
    assert (twin.num_positions, twin.num_sampleable, twin.open_episodes) == (0, 0, [])
