"""Which draws, searches and finishes are started when, with workers that answer on command."""

from dataclasses import dataclass, field

import pytest
from ray.exceptions import ActorDiedError, ObjectLostError

from rllib_ez.algorithm.credits import Credits
from rllib_ez.algorithm.preparation import Preparation
from rllib_ez.algorithm.run_config import RunConfig
from rllib_ez.algorithm.workers import WorkerGone
from rllib_ez.errors import WorkerLostError


@dataclass
class Desk:
    """Stands in for calls, shards and searchers; keeps what is to be called back."""

    num_shards: int = 1
    asked: list = field(default_factory=list)  # (method, shard, arguments, then, lost argument)
    searches: list = field(default_factory=list)  # (batch, weights, then, lost)
    taken: int = 0

    def total(self, name):
        return 100

    def pick(self, count):
        self.taken += 1
        return (self.taken - 1) % self.num_shards

    def ask(self, shard, method, *args, then, num_large=0, lost_argument=None):
        self.asked.append((method, shard, args, then, lost_argument))

    def take(self, shard, status):
        pass

    def call(self, method, batch, weights, *, version, num_large):
        return batch, weights

    def start(self, call, then, *, lost):
        self.searches.append((*call, then, lost))

    def of(self, method):
        return [asked for asked in self.asked if asked[0] == method]


class Config:
    num_learners = 0

    def __init__(self, **run):
        self.run = RunConfig(**{"num_random_steps": 0, "num_reanalyse_actors": 1, **run})

    def stage(self, stage):
        return self.run


def preparation_of(*, prefetch=0, earned=100, num_shards=1, num_searchers=1, **run):
    desk, config = Desk(num_shards), Config(**run)
    credits = Credits(config.run, num_env_steps=earned)
    preparation = Preparation(
        config, [desk] * num_searchers, shards=desk, calls=desk, credits=credits, prefetch=prefetch
    )
    preparation.target_weights[0] = "target 0"
    return preparation, desk, credits


def answer_draw(desk, place, batches):
    desk.of("draw")[place][3](batches)


def test_without_prefetch_the_next_draw_waits_for_the_updates_before():
    preparation, desk, credits = preparation_of(batches_ahead=3)
    for _ in range(3):
        preparation.start()
    assert [asked[2][0].num_batches for asked in desk.of("draw")] == [3]
    credits.num_updates = 3
    preparation.start()
    assert [asked[2][0].update for asked in desk.of("draw")] == [0, 3]


@pytest.mark.parametrize(("prefetch", "num_drawn"), [(0, 1), (1, 2), (4, 5)])
def test_so_many_updates_are_prepared_beyond_the_one_being_learned(prefetch, num_drawn):
    preparation, _, credits = preparation_of(prefetch=prefetch)
    preparation.start()
    assert credits.num_drawn == num_drawn


def test_no_update_is_drawn_that_was_not_earned():
    preparation, _, credits = preparation_of(prefetch=50, earned=7)
    preparation.start()
    assert credits.num_drawn == 7


def test_a_draw_waits_for_its_target_network():
    preparation, desk, credits = preparation_of(
        prefetch=2, target_update_every_updates=5, batches_ahead=4
    )
    for _ in range(5):
        preparation.start()
        credits.num_updates = credits.num_drawn
    orders = [asked[2][0] for asked in desk.of("draw")]
    assert [(order.update, order.num_batches, order.version) for order in orders] == [
        (0, 4, 0), (4, 1, 0), (5, 2, 0),
    ]  # fmt: skip
    preparation.target_weights[5] = "target 5"
    preparation.start()
    last = desk.of("draw")[-1][2][0]
    assert (last.update, last.version) == (7, 5)


def test_a_draw_that_misses_nothing_is_finished_at_once():
    preparation, desk, _ = preparation_of()
    preparation.start()
    answer_draw(desk, 0, [])
    preparation.start()
    assert desk.searches == []
    assert len(desk.of("finish")) == 1


def test_targets_are_handed_back_in_the_order_they_were_asked_for():
    preparation, desk, _ = preparation_of(num_searchers=2)
    preparation.start()
    answer_draw(desk, 0, ["first", "second"])
    preparation.start()
    for batch, weights, found, _ in reversed(desk.searches):
        assert weights == "target 0"
        found(0.1, f"targets of {batch}")
    preparation.start()
    (_, _, args, _, _) = desk.of("finish")[0]
    assert args == (0, "targets of first", "targets of second")


def test_each_shard_finishes_its_draws_in_order():
    preparation, desk, _ = preparation_of(prefetch=3, num_shards=2)
    preparation.start()
    for place in (2, 3, 1):  # draw 0 of shard 0 is not searched yet
        answer_draw(desk, place, [])
    preparation.start()
    assert [asked[2][0] for asked in desk.of("finish")] == [1]
    answer_draw(desk, 0, [])
    preparation.start()
    assert [asked[2][0] for asked in desk.of("finish")] == [1, 0]


def test_batches_are_handed_out_in_the_order_of_updates():
    preparation, desk, _ = preparation_of(prefetch=1, num_shards=2)
    preparation.start()
    for place in (0, 1):
        answer_draw(desk, place, [])
    preparation.start()
    desk.of("finish")[1][3](None, "batch 1")
    assert preparation.pop_ready() is None
    desk.of("finish")[0][3](None, "batch 0")
    assert [preparation.pop_ready().batches for _ in range(2)] == [["batch 0"], ["batch 1"]]


def searching(**settings):
    preparation, desk, _ = preparation_of(**settings)
    preparation.start()
    answer_draw(desk, 0, ["positions"])
    preparation.start()
    return preparation, desk


def test_what_a_lost_searcher_had_is_searched_again_later():
    preparation, desk = searching()
    desk.searches[0][3](WorkerGone(ConnectionError("gone")))
    preparation.start()
    assert len(desk.searches) == 1  # not at once
    preparation.searchers[0].retry_at = 0.0
    preparation.start()
    assert [search[0] for search in desk.searches] == ["positions", "positions"]
    assert preparation.num_lost == 1


@pytest.mark.parametrize(
    ("settings", "cause", "message"),
    [
        ({}, ActorDiedError(), "a reanalyse actor must stay alive"),
        ({"num_reanalyse_actors": 0}, ConnectionError("gone"), "replay shard 0 must stay alive"),
        ({}, ObjectLostError("ab" * 14, None, ""), "replay shard 0 must stay alive"),
    ],
)
def test_what_cannot_be_searched_any_more_ends_the_run(settings, cause, message):
    _, desk = searching(**settings)
    with pytest.raises(WorkerLostError, match=message):
        desk.searches[0][3](WorkerGone(cause))


def test_targets_lost_on_their_way_are_searched_again():
    preparation, desk = searching()
    desk.searches[0][2](0.1, "targets")
    preparation.start()
    desk.of("finish")[0][4]()
    preparation.start()
    assert len(desk.searches) == 2
