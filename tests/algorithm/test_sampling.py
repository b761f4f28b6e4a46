"""How many steps env runners are asked for, with runners and replay that answer on command."""

from dataclasses import dataclass, field

import pytest

from rllib_ez.algorithm.requests import RunnerReport
from rllib_ez.algorithm.run_config import RunConfig
from rllib_ez.algorithm.workers import WorkerGone

STEPS = 40  # of one request


@dataclass
class Silent:
    """A runner whose answers the test gives."""

    is_remote = True
    requests: list = field(default_factory=list)

    def call(self, method, weights, *, request, num_large):
        self.requests.append((weights, request))


@dataclass
class Wires:
    """Stands in for calls and shards; keeps what is to be called back."""

    sampleable: int = 0
    num_env_steps: int = 0
    answers: list = field(default_factory=list)
    lost: list = field(default_factory=list)
    changes: list = field(default_factory=list)
    added: list = field(default_factory=list)

    def start(self, call, then, *, lost):
        self.answers.append(then)
        self.lost.append(lost)

    def __len__(self):
        return 1

    def total(self, name):
        return {"num_sampleable": self.sampleable, "num_env_steps": self.num_env_steps}[name]

    def change(self, shard, method, *args, then=None, lost_argument=None):
        self.changes.append((method, *args))
        if method == "add":
            self.added.append(then)


class Config:
    num_envs_per_env_runner = 4
    rollout_fragment_length = 10


def sampling_of(num_runners, *, lead=0, wires=None, **run):
    from rllib_ez.algorithm.credits import Credits
    from rllib_ez.algorithm.sampling import Sampling

    wires = wires or Wires()
    credits = Credits(RunConfig(**{"replay_ratio": 1.0, "num_random_steps": 0, **run}))
    runners = {index + 1: Silent() for index in range(num_runners)}
    sampling = Sampling(Config(), runners, shards=wires, calls=wires, credits=credits, lead=lead)
    return sampling, wires, credits


def published(update=0):
    from rllib_ez.algorithm.sampling import Published

    return Published(update, f"weights {update}")


def report(birth=7, **changes):
    return RunnerReport(birth=birth, is_meant=True, num_env_steps=STEPS, **changes)


def num_asked(sampling):
    return sum(len(runner.worker.requests) for runner in sampling.runners)


def answer_all(wires, *, add):
    answers, wires.answers = wires.answers, []
    for then in answers:
        then(report(), [])
    if add:
        for done in wires.added:
            wires.num_env_steps += STEPS
            done()
        wires.added.clear()


def test_no_more_than_a_round_is_asked_for_while_replay_has_not_answered():
    sampling, wires, _ = sampling_of(2)
    for _ in range(10):
        sampling.start(published())
        answer_all(wires, add=False)
    assert num_asked(sampling) == 2


def test_random_steps_are_asked_for_exactly():
    sampling, wires, credits = sampling_of(2, num_random_steps=5 * STEPS)
    for _ in range(10):
        sampling.start(published())
        answer_all(wires, add=False)
    assert num_asked(sampling) == 5
    assert all(request.random_actions for r in sampling.runners for _, request in r.worker.requests)
    assert credits.steps_under_way == 5 * STEPS


@pytest.mark.parametrize(("lead", "expected"), [(0, 1), (STEPS, 2), (3 * STEPS, 4)])
def test_runners_wait_when_more_is_due_than_the_lead(lead, expected):
    sampling, wires, _ = sampling_of(1, lead=lead, wires=Wires(sampleable=100))
    for _ in range(10):
        sampling.start(published())
        answer_all(wires, add=True)
    assert num_asked(sampling) == expected


def test_runners_take_turns():
    sampling, wires, credits = sampling_of(3, wires=Wires(sampleable=100))
    for _ in range(9):
        sampling.start(published())
        answer_all(wires, add=True)
        credits.num_updates = credits.earned
    assert [len(runner.worker.requests) for runner in sampling.runners] == [3, 3, 3]


def test_the_limit_is_never_passed_by_more_than_one_request():
    sampling, wires, credits = sampling_of(3, lead=10**6, wires=Wires(sampleable=100))
    credits.env_steps_limit = 5 * STEPS - 1
    for _ in range(10):
        sampling.start(published())
        answer_all(wires, add=True)
    assert credits.num_env_steps == 5 * STEPS


def test_no_env_step_is_taken_before_the_offline_updates_are_made():
    run = {"num_offline_updates": 3, "from_episodes": "somewhere"}
    sampling, _, credits = sampling_of(1, wires=Wires(sampleable=100), **run)
    sampling.start(published())
    assert num_asked(sampling) == 0
    credits.num_updates = 3
    sampling.start(published())
    assert num_asked(sampling) == 1


def test_weights_are_sent_once_to_each_runner():
    sampling, wires, _ = sampling_of(1, lead=10**6, wires=Wires(sampleable=100))
    for update in (0, 0, 5):
        sampling.start(published(update))
        answer_all(wires, add=True)
    (runner,) = sampling.runners
    sent = [weights for weights, _ in runner.worker.requests]
    assert sent == ["weights 0", None, "weights 5"]


def test_every_runner_is_asked_with_the_newest_weights_however_long_it_was_busy():
    sampling, wires, _ = sampling_of(2, lead=10**6, wires=Wires(sampleable=100))
    sampling.start(published(0))
    slow = wires.answers.pop()
    for update in (5, 9):
        answer_all(wires, add=True)
        sampling.start(published(update))
    slow(report(), [])
    sampling.start(published(12))
    asked = [[request.update for _, request in r.worker.requests] for r in sampling.runners]
    assert asked == [[0, 5, 9], [0, 12]]
    assert sampling.runners[1].worker.requests[-1][0] == "weights 12"


def test_a_lost_runner_is_asked_later_with_weights_in_another_life():
    sampling, wires, credits = sampling_of(1, wires=Wires(sampleable=100))
    sampling.start(published())
    wires.lost[0](WorkerGone(ConnectionError("gone")))
    assert ("close_runner", 1) in wires.changes
    assert credits.steps_under_way == 0
    (runner,) = sampling.runners
    sampling.start(published())
    assert len(runner.worker.requests) == 1  # not at once
    runner.retry_at = 0.0
    sampling.start(published())
    weights, request = runner.worker.requests[-1]
    assert (weights, request.life, request.birth) == ("weights 0", 1, None)


def test_a_runner_that_was_started_anew_unnoticed_is_told_apart():
    sampling, wires, credits = sampling_of(1, lead=10**6, wires=Wires(sampleable=100))
    sampling.start(published())
    answer_all(wires, add=True)
    sampling.start(published())
    wires.answers.pop()(RunnerReport(birth=8, is_meant=False), [])
    assert credits.num_env_steps == STEPS
    assert credits.steps_under_way == 0
    sampling.start(published())
    weights, request = sampling.runners[0].worker.requests[-1]
    assert (weights, request.life) == ("weights 0", 1)


def test_losing_all_runners_for_good_ends_the_run():
    from ray.exceptions import ActorDiedError

    from rllib_ez.errors import WorkerLostError

    sampling, wires, _ = sampling_of(1)
    sampling.start(published())
    with pytest.raises(WorkerLostError, match="all are lost"):
        wires.lost[0](WorkerGone(ActorDiedError()))
