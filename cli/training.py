"""The loop of `ez train`: rounds, evaluations, checkpoints, until the end or a wish to stop."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.evaluation import Evaluator, mean_return
from cli.plan import Plan
from cli.progress import Rates, RecentReturn, Status, View, number
from cli.records import Recorder, as_number
from cli.run_folder import checkpoint_path, drop_old_checkpoints
from cli.stopping import StopRequest
from rllib_ez.agent import Agent
from rllib_ez.algorithm.algorithm import EfficientZero
from rllib_ez.core.engines import blank_engine, pick_device


@dataclass
class Training:
    """One run under way."""

    algo: EfficientZero
    plan: Plan
    folder: Path
    evaluator: Evaluator
    recorder: Recorder
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
        self._seconds_before = self.rows_before[-1]["seconds"] if self.rows_before else 0.0
        self.returns: list[float] | None = None  # of the last evaluation
        for row in self.rows_before:
            if "evaluation" in row:
                self._take_in(row["evaluation"]["returns"], at=row["env_steps"])
            else:
                mean = self._recent.add(row["train_episodes"], row["train_return_mean"])
                self.status.train_return = mean
        self.training_seconds = 0.0
        self._start = time.monotonic()
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
    def seconds(self) -> float:
        """Wall-clock time of the run: evaluation too, and what came before it was resumed."""
        return self._seconds_before + time.monotonic() - self._start

    def run(self, stop: StopRequest) -> None:
        """Trains to the end, or until somebody asks to stop; leaves a checkpoint."""
        plan = self.plan
        while self.env_steps < plan.env_steps and stop.signal is None:
            before = self.env_steps
            self._round()
            done = self.env_steps >= plan.env_steps
            if stop.signal is None and (
                done or passed(before, self.env_steps, plan.evaluate_every)
            ):
                self._evaluate()
            if done or passed(before, self.env_steps, plan.checkpoint_every):
                self.save()
        if self.checkpoint != checkpoint_path(self.folder, self.env_steps):
            self.save()

    def save(self) -> None:
        """Writes a checkpoint and lets old ones go."""
        self._say("saving a checkpoint")
        path = checkpoint_path(self.folder, self.env_steps)
        self.algo.save_to_path(path)
        self.checkpoint = path
        drop_old_checkpoints(self.folder)
        self._say("training")

    def _round(self) -> None:
        start = time.monotonic()
        result = self.algo.train()
        self.training_seconds += time.monotonic() - start
        ended, mean = ended_episodes(result)
        self.status.train_return = self._recent.add(ended, mean)
        self._see(result)
        self.recorder.board(result, self.env_steps)
        self.recorder.row(
            self._clock()
            | {
                "train_episodes": ended,
                "train_return_mean": mean,
                "losses": self.status.losses,
                "replay_bytes": self.status.replay_bytes,
            }
        )
        self.view.show()

    def _evaluate(self) -> None:
        self._say(f"evaluating: {len(self.evaluator.seeds)} episodes")
        self._model.load(self.algo.learner_weights())
        episodes = self.evaluator.play(self._agent)
        returns = [episode.score for episode in episodes]
        mean = mean_return(episodes)
        self._take_in(returns, at=self.env_steps)
        self.recorder.row(self._clock() | {"evaluation": {"return_mean": mean, "returns": returns}})
        metrics = {
            "episode_return_mean": mean,
            "episode_return_min": min(returns),
            "episode_return_max": max(returns),
            "episode_len_mean": sum(e.length for e in episodes) / len(episodes),
            "num_episodes": len(episodes),
        }
        self.recorder.board({"evaluation": {"env_runners": metrics}}, self.env_steps)
        self._say("training", now=True)

    def _take_in(self, returns: list[float], *, at: int) -> None:
        self.returns = returns
        span = f"{number(min(returns))} to {number(max(returns))}"
        mean = number(sum(returns) / len(returns))
        self.status.evaluation = f"{mean} ({span}) at {at:,}"

    def _clock(self) -> dict[str, Any]:
        return {
            "env_steps": self.env_steps,
            "updates": self.updates,
            "seconds": round(self.seconds, 3),
        }

    def _see(self, result: Mapping[str, Any]) -> None:
        status = self.status
        status.env_steps, status.updates = self.env_steps, self.updates
        status.replay_bytes = int(as_number(result.get("pipeline", {}).get("replay_bytes")) or 0)
        status.losses = losses_of(result) or status.losses
        status.steps_per_second, status.updates_per_second = self._rates.add(
            self.training_seconds, self.env_steps, self.updates
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
