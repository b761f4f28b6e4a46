"""The loop of a run: rounds, evaluations, checkpoints, until the end or a wish to stop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rllib_ez.agent import Agent
from rllib_ez.algorithm.algorithm import EfficientZero
from rllib_ez.core.engines import blank_engine, pick_device
from rllib_ez.runs.evaluation import Evaluator, mean_return
from rllib_ez.runs.folder import checkpoint_path, drop_old_checkpoints
from rllib_ez.runs.plan import Plan
from rllib_ez.runs.records import RowFile, as_number
from rllib_ez.runs.stages import StageSeconds
from rllib_ez.runs.status import Rates, RecentReturn, Status, View, number
from rllib_ez.runs.stop import Stop, Stopped

ROUND_SECONDS = 5.0  # that a round may take to end once somebody asked to stop


class Patience:
    """Whether a round is to be broken off: not at once after the wish to stop."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._wanted_at: float | None = None

    def __call__(self) -> bool:
        """Asked between chunks of a round."""
        if self._wanted_at is None and self._stop.is_wanted:
            self._wanted_at = time.monotonic()
        return self._wanted_at is not None and time.monotonic() - self._wanted_at > ROUND_SECONDS


@dataclass
class Training:
    """One run under way."""

    algo: EfficientZero
    plan: Plan
    folder: Path
    evaluator: Evaluator
    recorder: RowFile
    status: Status
    view: View
    checkpoint: Path | None = None  # the newest
    rows_before: list[dict[str, Any]] = field(default_factory=list)  # where it is resumed

    def __post_init__(self) -> None:
        card = self.algo.agent_card()
        device = pick_device(self.algo.config.inference_device)
        self._model = blank_engine(
            card.model, device=device, engine=self.algo.config.inference_engine
        )
        self._agent = Agent(card, self._model)
        self._rates = Rates()
        self._recent = RecentReturn()
        self.evaluated_at = 0
        self._seconds_before = self.rows_before[-1]["seconds"] if self.rows_before else 0.0
        self._stages = StageSeconds.after(self.rows_before)
        self.returns: list[float] | None = None  # of the last evaluation
        self.evaluations: dict[int, float] = {}  # all of them: mean return by progress
        for row in self.rows_before:
            if "evaluation" in row:
                at = self.plan.progress(env_steps=row["env_steps"], updates=row["updates"])
                self._take_in(row["evaluation"]["returns"], at=at)
            else:
                mean = self._recent.add(row["train_episodes"], row["train_return_mean"])
                self.status.train_return = mean
                self.status.losses = row["losses"] or self.status.losses
                self.status.replay_bytes = row["replay_bytes"]
        self.training_seconds = 0.0  # in rounds, of this process
        self.evaluation_seconds = 0.0  # the same
        self.num_train_episodes = 0  # that ended, the same
        self._start = time.monotonic()
        self.algo.pipeline.credits.env_steps_limit = self.plan.env_steps
        self._see({})

    @property
    def env_steps(self) -> int:
        """Env steps taken."""
        return self.algo.pipeline.num_env_steps

    @property
    def updates(self) -> int:
        """Gradient updates made."""
        return self.algo.pipeline.num_updates

    @property
    def progress(self) -> int:
        """How far the run is; see `Plan.progress`."""
        return self.plan.progress(env_steps=self.env_steps, updates=self.updates)

    @property
    def is_done(self) -> bool:
        """Whether all steps are in and all updates are made, or cannot be."""
        plan = self.plan
        is_in = self.env_steps >= plan.env_steps and self.updates >= plan.offline_updates
        return is_in and self._is_paid

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run: evaluation too, and what came before it was resumed."""
        return self._seconds_before + time.monotonic() - self._start

    @property
    def is_finished(self) -> bool:
        """Whether the run is done and its final weights were evaluated."""
        return self.is_done and self.evaluated_at == self.progress

    def run(self, stop: Stop) -> None:
        """Trains to the end, or until somebody asks to stop; leaves a checkpoint."""
        while not self.is_finished and not stop.is_wanted:
            before = self.progress
            self.advance(stop)
            if not self.is_done and passed(before, self.progress, self.plan.checkpoint_every):
                self.save()
        if self.checkpoint != checkpoint_path(self.folder, self.progress):
            self.save()

    def advance(self, stop: Stop) -> None:
        """One round of training, then an evaluation if one is due.

        A round is given some seconds to end after the wish to stop: between rounds a run goes on
        as if it had not been stopped. An evaluation that was broken off comes first.
        """
        self.algo.pipeline.is_interrupted = Patience(stop)
        if not self.is_done and not (self._is_evaluation_due and self._is_paid):
            self._round()
        if self._is_evaluation_due and not stop.is_wanted:
            self._evaluate(stop)

    @property
    def _is_evaluation_due(self) -> bool:
        if self.is_done:
            return self.evaluated_at != self.progress
        return passed(self.evaluated_at, self.progress, self.plan.evaluate_every)

    @property
    def _is_paid(self) -> bool:
        pipeline = self.algo.pipeline
        return pipeline.credits.due <= 0 or not pipeline.shards.total("num_sampleable")

    def save(self) -> None:
        """Writes a checkpoint and lets old ones go."""
        self._say("saving a checkpoint")
        self.algo.pipeline.quiesce()  # which may take in steps: now the name is right
        self._see({})
        path = checkpoint_path(self.folder, self.progress)
        self.algo.save_to_path(path)
        self.checkpoint = path
        drop_old_checkpoints(self.folder, keep=self.plan.keep_checkpoints)
        self._say("training")

    def _round(self) -> None:
        start = time.monotonic()
        result = self.algo.train()  # once all steps are in: makes every update that is still due
        self.training_seconds += time.monotonic() - start
        ended, mean = ended_episodes(result)
        self.num_train_episodes += ended
        self.status.train_return = self._recent.add(ended, mean)
        self._see(result)
        self.recorder.board(result, self.progress)
        self.recorder.row(
            self._clock()
            | {
                "train_episodes": ended,
                "train_return_mean": mean,
                "losses": self.status.losses,
                "replay_bytes": self.status.replay_bytes,
            }
            | self._stages.row(self.training_seconds, self.algo.pipeline.seconds())
        )
        self.view.show()

    def _evaluate(self, stop: Stop) -> None:
        self._say(f"evaluating: {len(self.evaluator.seeds)} episodes")
        start = time.monotonic()
        self._model.load(self.algo.learner_weights())
        try:
            episodes = self.evaluator.play(self._agent, on_step=stop.check)
        except Stopped:  # it comes after the first round once the run is resumed
            return
        finally:
            self.evaluation_seconds += time.monotonic() - start
        returns = [episode.score for episode in episodes]
        mean = mean_return(episodes)
        self._take_in(returns, at=self.progress)
        self.recorder.row(self._clock() | {"evaluation": {"return_mean": mean, "returns": returns}})
        metrics = {
            "episode_return_mean": mean,
            "episode_return_min": min(returns),
            "episode_return_max": max(returns),
            "episode_len_mean": sum(e.length for e in episodes) / len(episodes),
            "num_episodes": len(episodes),
        }
        self.recorder.board({"evaluation": {"env_runners": metrics}}, self.progress)
        self._say("training", now=True)

    def _take_in(self, returns: list[float], *, at: int) -> None:
        self.returns, self.evaluated_at = returns, at
        span = f"{number(min(returns))} to {number(max(returns))}"
        mean = sum(returns) / len(returns)
        self.evaluations[at] = mean
        self.status.evaluation = f"{number(mean)} ({span}) at {at:,}"

    def _clock(self) -> dict[str, Any]:
        return {
            "env_steps": self.env_steps,
            "updates": self.updates,
            "seconds": round(self.seconds, 3),
        }

    def _see(self, result: Mapping[str, Any]) -> None:
        status = self.status
        status.progress, status.env_steps, status.updates = (
            self.progress, self.env_steps, self.updates
        )  # fmt: skip
        num_bytes = as_number(result.get("pipeline", {}).get("replay_bytes"))
        status.replay_bytes = status.replay_bytes if num_bytes is None else int(num_bytes)
        status.losses = losses_of(result) or status.losses
        status.progress_per_second, status.steps_per_second, status.updates_per_second = (
            self._rates.add(self.training_seconds, self.progress, self.env_steps, self.updates)
        )

    def _say(self, activity: str, *, now: bool = False) -> None:
        self.status.activity = activity
        self.view.show(now=now)


def ended_episodes(result: Mapping[str, Any]) -> tuple[int, float | None]:
    """How many training episodes ended in the round, and their mean return."""
    metrics = result.get("env_runners", {})
    mean = as_number(metrics.get("episode_return_mean"))
    return (0, None) if mean is None else (int(as_number(metrics.get("num_episodes")) or 0), mean)


def losses_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The losses in RLlib's result, by short name; empty before the first update."""
    learner = result.get("learners", {}).get("default_policy", {})
    pairs = ((name, as_number(value)) for name, value in learner.items())
    found = {n.removesuffix("_loss"): v for n, v in pairs if n.endswith("_loss") and v is not None}
    return dict(sorted(found.items(), key=lambda item: (item[0] != "total", item[0])))


def passed(before: int, now: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]; never for 0."""
    return every > 0 and before // every < now // every
