"""Workers are killed for real: what can be made anew is, the rest ends the run, nothing is lost."""

import gymnasium
import pytest

from tests.algorithm.kills import assert_exact, call, kill, pid_of, train_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def build():
    made = []

    def make(config):
        made.append(config.build_algo())
        return made[-1]

    yield make
    for algorithm in made:
        algorithm.stop()


@pytest.fixture(scope="module")
def parallel(make_small_config):
    """Two runners, a shard, a reanalyse actor and a learner, at work."""
    config = make_small_config().training(num_replay_shards=1, num_reanalyse_actors=1)
    config.num_env_runners, config.num_learners = 2, 1
    algorithm = config.build_algo()
    train_until(algorithm, lambda: algorithm.pipeline.num_updates >= 20)
    yield algorithm
    algorithm.stop()


def test_a_killed_env_runner_begins_again_while_training_goes_on(parallel):
    pipeline, sampling = parallel.pipeline, parallel.pipeline.sampling
    runner = sampling.runners[0]
    before = pid_of(runner.worker)
    steps = pipeline.num_env_steps
    kill(runner.worker)
    train_until(parallel, lambda: sampling.num_lost >= 1)
    train_until(parallel, lambda: pipeline.num_env_steps > steps + 80)  # the other one's
    train_until(parallel, lambda: runner.birth is not None)  # it has answered again
    assert pid_of(runner.worker) != before
    assert runner.life >= 1
    assert_exact(parallel)


def test_a_killed_env_runner_never_plays_an_episode_of_its_former_life(parallel):
    runner = parallel.pipeline.sampling.runners[1]
    first = call(runner.worker, lambda one: [track.episode_id for track in one.games.tracks])
    kill(runner.worker)
    train_until(parallel, lambda: runner.life > 0 and runner.birth is not None)
    again = call(runner.worker, lambda one: [track.episode_id for track in one.games.tracks])
    assert min(again) > max(first) + 2**20
    open_episodes = call(
        parallel.pipeline.shards.workers[0], lambda one: one.shard.replay.open_episodes
    )
    assert not set(first) & set(open_episodes)


def test_a_killed_reanalyse_actor_is_replaced_while_training_goes_on(parallel):
    pipeline = parallel.pipeline
    searcher = pipeline.preparation.searchers[0].worker
    before, updates = pid_of(searcher), pipeline.num_updates
    kill(searcher)
    train_until(parallel, lambda: pipeline.num_updates > updates + 30)
    assert pipeline.preparation.num_lost >= 1
    assert pid_of(searcher) != before
    assert_exact(parallel)


def test_losing_what_cannot_be_made_anew_ends_the_run_and_it_resumes(parallel, tmp_path):
    """The last test that uses `parallel`."""
    resumed = lost_and_resumed(parallel, "learner", tmp_path / "one")
    lost_and_resumed(resumed, "replay shard", tmp_path / "two").stop()


def lost_and_resumed(algorithm, victim, folder):
    from rllib_ez.algorithm.algorithm import EfficientZero

    algorithm.save_to_path(folder)
    counts = algorithm.pipeline.counts()
    lose(algorithm, victim)
    algorithm.stop()
    resumed = EfficientZero.from_checkpoint(str(folder))
    assert resumed.pipeline.num_updates == counts.num_updates
    assert resumed.pipeline.num_env_steps == counts.num_env_steps
    train_until(resumed, lambda: resumed.pipeline.num_updates > counts.num_updates + 10)
    assert_exact(resumed)
    return resumed


def lose(algorithm, victim):
    from rllib_ez.errors import WorkerLostError

    pipeline = algorithm.pipeline
    kill(
        {"replay shard": pipeline.shards.workers, "learner": pipeline.learning.learners}[victim][0]
    )
    with pytest.raises(WorkerLostError, match=f"{victim}.* must stay alive.*--resume"):
        train_until(algorithm, lambda: False)


class Brittle(gymnasium.Env):
    """Raises at every `patience`-th step of its process."""

    observation_space = gymnasium.spaces.Box(-1, 1, (4,))
    action_space = gymnasium.spaces.Discrete(2)
    num_steps = 0

    def __init__(self, config):
        self._patience = config["patience"]

    def reset(self, *, seed=None, options=None):
        self._time = 0
        return self.observation_space.low * 0, {}

    def step(self, action):
        Brittle.num_steps += 1
        self._time += 1
        if Brittle.num_steps % self._patience == 0:
            raise OSError("the simulator fell over")
        return self.observation_space.low * 0, 1.0, self._time >= 9, False, {}


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_a_raising_environment_begins_again_and_only_its_open_games_are_lost(
    small_config, build, num_env_runners
):
    config = small_config.environment(Brittle, env_config={"patience": 70})
    config.num_env_runners = num_env_runners
    algorithm = build(config)
    with pytest.warns(UserWarning, match="OSError: the simulator fell over"):
        train_until(algorithm, lambda: algorithm.pipeline.num_env_steps > 300)
    assert_exact(algorithm)


def test_an_environment_that_always_raises_ends_the_run(small_config, build):
    from rllib_ez.errors import EnvironmentCrashError

    algorithm = build(small_config.environment(Brittle, env_config={"patience": 1}))
    with pytest.raises(EnvironmentCrashError, match=r"OSError.*4 times in a row"):
        algorithm.train()


@pytest.mark.parametrize("num_env_runners", [0, 1])
def test_restarts_can_be_turned_off_to_see_the_error_at_once(small_config, build, num_env_runners):
    """RLlib would sleep a minute before it ends the actor."""
    from rllib_ez.errors import EnvironmentCrashError

    config = small_config.environment(Brittle, env_config={"patience": 70})
    config.restart_failed_env_runners = False
    config.num_env_runners = num_env_runners
    algorithm = build(config)
    with pytest.raises(EnvironmentCrashError, match="the simulator fell over"):
        train_until(algorithm, lambda: False, seconds=30)
