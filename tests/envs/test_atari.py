from __future__ import annotations

import ale_py
import numpy as np
import pytest

from rllib_ez.envs.atari import ATARI_100K_GAMES, Atari100kVectorEnv, rom_name
from rllib_ez.errors import EnvironmentSpecError, SettingError

SEED_OF_12_NOOPS = 1
SEED_OF_0_NOOPS = 9  # of ALE's own draw from 0..30
SEED_OF_30_NOOPS = 45


class SlowAtari:
    """One emulator by the same rules, written out: the slow twin."""

    def __init__(self, game: str, *, seed: int, noops: int, sticky: float = 0.0) -> None:
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale = ale_py.ALEInterface()
        self.ale.setInt("random_seed", seed)
        self.ale.setFloat("repeat_action_probability", sticky)
        self.ale.loadROM(ale_py.roms.get_rom_path(game))
        self.ale.reset_game()
        for _ in range(noops):
            self.ale.act(0)

    def step(self, action: int) -> tuple[np.ndarray, float]:
        """4 frames of one action; the frame [96, 96, 3] and the score."""
        score, screens = 0.0, []
        for _ in range(4):
            score += self.ale.act(self.ale.getMinimalActionSet()[action])
            screens.append(self.ale.getScreenRGB())
        return shrink_by_area(np.maximum(screens[2], screens[3]), 96), score


def shrink_by_area(picture: np.ndarray, size: int) -> np.ndarray:
    """Each new pixel is the mean of the part of the old picture that it covers."""

    def weights(old: int) -> np.ndarray:
        edges = np.linspace(0, old, size + 1)
        right = np.minimum(edges[1:, None], np.arange(1, old + 1))
        left = np.maximum(edges[:-1, None], np.arange(old))
        return np.maximum(right - left, 0) * size / old

    rows, columns = weights(picture.shape[0]), weights(picture.shape[1])
    return np.stack([rows @ picture[:, :, c] @ columns.T for c in range(3)], axis=2)


def started(game: str, num_envs: int = 1, *, seed: int = 1, **settings) -> Atari100kVectorEnv:
    """Emulators reset with `seed`, `seed` + 1, ..."""
    env = Atari100kVectorEnv(game, num_envs, **{"training": True, **settings})
    env.reset(np.arange(num_envs), seed + np.arange(num_envs))
    return env


def play_until(env: Atari100kVectorEnv, stop) -> list:
    """Random actions of one environment until `stop(step)`; all steps."""
    rng, steps = np.random.default_rng(0), []
    while not steps or not stop(steps[-1]):
        steps.append(env.step(rng.integers(0, env.action_space.n, 1)))
    return steps


@pytest.mark.parametrize("game", ["seaquest", "breakout"])  # both obey from the first step on
def test_frames_and_scores_follow_the_rules_written_out(game: str):
    env, twin = started(game), SlowAtari(game, seed=SEED_OF_12_NOOPS, noops=12)
    for action in np.random.default_rng(0).integers(0, 4, 80).tolist():
        step = env.step(np.array([action]))
        frame, score = twin.step(action)
        np.testing.assert_allclose(step.frames[0], frame, atol=0.51)
        assert step.score[0] == score


def test_sticky_actions_repeat_by_the_emulators_own_draws():
    env = started("breakout", training=False, sticky_actions=0.25)
    sticky = SlowAtari("breakout", seed=SEED_OF_12_NOOPS, noops=12, sticky=0.25)
    free = SlowAtari("breakout", seed=SEED_OF_12_NOOPS, noops=12)
    differs = False
    for action in np.random.default_rng(0).integers(0, 4, 80).tolist():
        step, (frame, score) = env.step(np.array([action])), sticky.step(action)
        np.testing.assert_allclose(step.frames[0], frame, atol=0.51)
        assert step.score[0] == score
        differs |= bool((free.step(action)[0] != frame).any())
    assert differs


def test_every_step_is_four_frames_long():
    env = started("pong")
    before = env._ale.step(np.array([0]))[4]["frame_number"][0]
    assert env._ale.step(np.array([0]))[4]["frame_number"][0] - before == 4


def test_actions_are_the_minimal_ones():
    assert [int(started(game).action_space.n) for game in ("pong", "breakout")] == [6, 4]


@pytest.mark.parametrize(("seed", "noops"), [(SEED_OF_12_NOOPS, 12), (SEED_OF_30_NOOPS, 30)])
def test_the_seed_sets_the_number_of_noops(seed: int, noops: int):
    assert frames_after_reset(started("breakout", seed=seed)) == noops


def test_an_episode_never_begins_without_a_noop():
    env = started("breakout", seed=SEED_OF_0_NOOPS)
    _, info = env._ale.reset(seed=np.array([SEED_OF_0_NOOPS]))
    assert info["episode_frame_number"][0] == 0
    env.reset(np.array([0]), np.array([SEED_OF_0_NOOPS]))
    assert frames_after_reset(env) >= 1


def frames_after_reset(env: Atari100kVectorEnv) -> int:
    """Emulator frames between the start of the game and the first frame seen."""
    return int(env._ale.step(np.array([0]))[4]["episode_frame_number"][0]) - 4


def episode(
    num_envs: int, index: int, seed: int, *, game: str = "breakout", sticky: float = 0.0
) -> list[tuple]:
    """120 steps of one emulator among others that play at random, restarted midway."""
    env = started(game, num_envs, seed=100 + num_envs, training=False, sticky_actions=sticky)
    others = np.random.default_rng(num_envs)
    for _ in range(5 * num_envs):
        env.step(others.integers(0, 4, num_envs))
    seen = [int(env.reset(np.array([index]), np.array([seed])).astype(np.int64).sum())]
    for action in np.random.default_rng(0).integers(0, 4, 120).tolist():
        actions = others.integers(0, 4, num_envs)
        actions[index] = action
        step = env.step(actions)
        seen.append((hash(step.frames[index].tobytes()), step.score[index], step.terminated[index]))
    return seen


@pytest.mark.parametrize("game", ["breakout", "seaquest"])
def test_an_episode_is_a_function_of_its_seed_and_actions(game: str):
    alone = episode(1, 0, 5, game=game)
    assert alone == episode(3, 1, 5, game=game)
    assert alone != episode(1, 0, 6, game=game)


def test_an_episode_with_sticky_actions_is_a_function_of_its_seed_and_actions():
    alone = episode(1, 0, 5, sticky=0.25)
    assert alone == episode(3, 1, 5, sticky=0.25)
    assert alone != episode(1, 0, 5)


def test_a_seed_of_zero_is_a_seed():
    assert episode(1, 0, 0) == episode(1, 0, 0)


def test_large_seeds_are_folded_to_31_bits():
    assert episode(1, 0, 5 + 2**31) == episode(1, 0, 5)


def test_reset_answers_in_the_order_of_the_indices():
    env = started("freeway", 3)
    frames = env.reset(np.array([2, 0]), np.array([7, SEED_OF_30_NOOPS]))
    first = env.reset(np.array([0, 1]), np.array([7, SEED_OF_30_NOOPS]))
    np.testing.assert_array_equal(frames, first)
    assert (frames[0] != frames[1]).any()


def test_a_reset_leaves_the_neighbours_alone():
    env = started("breakout", 2)
    before = env.step(np.array([1, 1])).frames[1].copy()
    env.reset(np.array([0]), np.array([7]))
    np.testing.assert_array_equal(env.render(1), before)


def test_the_first_reset_may_be_of_some():
    env = Atari100kVectorEnv("pong", 2, training=True)
    assert env.reset(np.array([1]), np.array([3])).shape == (1, 96, 96, 3)
    with pytest.raises(RuntimeError, match=r"environments \[0\] must be reset"):
        env.step(np.array([0, 0]))


def test_a_lost_life_ends_the_trajectory_but_not_the_game():
    env = started("breakout")
    steps = play_until(env, lambda step: step.terminated[0])
    assert (env._lives[0], steps[-1].needs_reset[0], steps[-1].truncated[0]) == (4, False, False)
    assert not env.step(np.array([0])).terminated[0]


def test_each_life_ends_one_trajectory_while_training():
    steps = play_until(started("breakout"), lambda step: step.needs_reset[0])
    assert sum(int(step.terminated[0]) for step in steps) == 5


def test_a_lost_life_is_nothing_while_evaluating():
    steps = play_until(started("breakout", training=False), lambda step: step.needs_reset[0])
    assert [bool(step.terminated[0]) for step in steps] == [False] * (len(steps) - 1) + [True]


def test_after_the_end_a_reset_begins_a_whole_new_episode():
    env = started("breakout")
    play_until(env, lambda step: step.needs_reset[0])
    env.reset(np.array([0]), np.array([SEED_OF_12_NOOPS]))
    assert frames_after_reset(env) == 12


def test_stepping_past_the_end_is_refused():
    env = started("breakout")
    play_until(env, lambda step: step.needs_reset[0])
    with pytest.raises(RuntimeError, match="must be reset"):
        env.step(np.array([0]))


def test_rewards_are_clipped_and_scores_are_not():
    steps = play_until(started("ms_pacman"), lambda step: step.score[0] > 1)
    assert (steps[-1].score[0], steps[-1].reward[0]) == (10.0, 1.0)
    assert (steps[-1].reward.dtype, steps[-1].score.dtype) == (np.float32, np.float64)


def test_the_frame_limit_counts_emulator_frames_and_truncates():
    steps = play_until(started("pong", max_episode_frames=40), lambda step: step.needs_reset[0])
    last = steps[-1]
    assert (len(steps), last.truncated[0], last.terminated[0]) == (10, True, False)


def test_the_frame_limit_counts_anew_after_a_reset():
    env = started("pong", max_episode_frames=12)
    env.step(np.array([0]))
    env.reset(np.array([0]), np.array([2]))
    assert len(play_until(env, lambda step: step.needs_reset[0])) == 3


def test_a_life_lost_at_the_limit_counts_as_an_end_and_not_as_a_cut():
    steps_to_loss = len(play_until(started("breakout"), lambda step: step.terminated[0]))
    env = started("breakout", max_episode_frames=4 * steps_to_loss)
    last = play_until(env, lambda step: step.needs_reset[0])[-1]
    assert (last.terminated[0], last.truncated[0]) == (True, False)


def test_the_last_frame_before_the_limit_is_not_blurred():
    cut = play_until(started("ms_pacman", max_episode_frames=480), lambda step: step.truncated[0])
    free = started("ms_pacman")
    rng = np.random.default_rng(0)
    frames = [free.step(rng.integers(0, 9, 1)).frames for _ in range(120)]
    np.testing.assert_array_equal(cut[-1].frames, frames[-1])


def test_old_frames_are_not_overwritten():
    env = started("breakout")
    frames = env.step(np.array([1])).frames
    kept = frames.copy()
    env.step(np.array([1]))
    np.testing.assert_array_equal(frames, kept)


def test_gray_frames_have_one_channel_and_render_in_colour():
    env = started("pong", gray=True, frame_size=64)
    assert env.step(np.array([0])).frames.shape == (1, 64, 64, 1)
    assert env.render(0).shape == (64, 64, 3)


def test_an_action_outside_the_space_is_refused_and_not_waited_for():
    with pytest.raises(ValueError, match=r"in 0..5, got \[6\]"):
        started("pong").step(np.array([6]))


@pytest.mark.parametrize(
    ("name", "rom"),
    [
        ("pong", "pong"),
        ("Pong", "pong"),
        ("ms_pacman", "ms_pacman"),
        ("MsPacman", "ms_pacman"),
        ("ALE/UpNDown-v5", "up_n_down"),
    ],
)
def test_games_go_by_several_names(name: str, rom: str):
    assert rom_name(name) == rom


@pytest.mark.parametrize("name", ["pnog", "ALE/Pnog-v5"])
def test_an_unknown_game_is_refused_with_the_nearest(name: str):
    with pytest.raises(EnvironmentSpecError, match=f"got '{name}'; nearest: 'pong'"):
        rom_name(name)


@pytest.mark.parametrize(
    "setting", [{"frame_size": 15}, {"max_episode_frames": 3}, {"num_threads": -1}]
)
def test_settings_out_of_range_are_refused(setting: dict):
    with pytest.raises(SettingError, match=f"{next(iter(setting))} must be >= "):
        Atari100kVectorEnv("pong", 1, training=True, **setting)


@pytest.mark.parametrize(
    ("probability", "training"), [(-0.1, False), (1.0, False), (float("nan"), False), (0.25, True)]
)
def test_sticky_actions_are_below_one_and_for_evaluation_alone(probability: float, training: bool):
    rule = "be 0 in training" if training else r"be in \[0, 1\), got"
    with pytest.raises(SettingError, match=f"sticky_actions must {rule}"):
        Atari100kVectorEnv("pong", 1, training=training, sticky_actions=probability)


def test_the_26_games_are_those_of_the_published_tables():
    published = (
        "Alien Amidar Assault Asterix BankHeist BattleZone Boxing Breakout ChopperCommand "
        "CrazyClimber DemonAttack Freeway Frostbite Gopher Hero Jamesbond Kangaroo Krull "
        "KungFuMaster MsPacman Pong PrivateEye Qbert RoadRunner Seaquest UpNDown"
    )
    assert tuple(rom_name(f"ALE/{game}-v5") for game in published.split()) == ATARI_100K_GAMES
    assert len(set(ATARI_100K_GAMES)) == 26
