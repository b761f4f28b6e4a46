"""The replay ratio, exactly: env steps earn gradient updates, and no update is made on credit."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from rllib_ez.algorithm.run_config import RunConfig


@dataclass(slots=True)
class Credits:
    """Counts steps and updates, whatever the speed of those who make them.

    Once all that was earned is paid

        num_updates == num_offline_updates + floor(replay_ratio * num_env_steps)

    and `num_final_updates` more once all the run's env steps are in.
    """

    run: RunConfig
    num_env_steps: int = 0  # taken in by replay
    steps_under_way: int = 0  # asked for from env runners
    num_drawn: int = 0  # updates whose samples are drawn
    num_updates: int = 0  # updates made
    env_steps_limit: int | None = None  # no step is asked for beyond it; None: no end is known

    @property
    def ratio(self) -> Fraction:
        """Gradient updates per env step, exactly as written."""
        return exact(self.run.replay_ratio)

    @property
    def is_collected(self) -> bool:
        """Whether all env steps of the run are in."""
        return self.env_steps_limit is not None and self.num_env_steps >= self.env_steps_limit

    @property
    def acts_randomly(self) -> bool:
        """Whether the next steps belong to the first ones, which are taken without a search."""
        return self.num_env_steps + self.steps_under_way < self.run.num_random_steps

    @property
    def earned_by_steps(self) -> int:
        """Updates that the env steps so far, and the archive at the start, have earned."""
        run = self.run
        by_steps = updates_for_steps(
            self.num_env_steps, ratio=self.ratio, num_random_steps=run.num_random_steps
        )
        return run.num_offline_updates + by_steps

    @property
    def earned(self) -> int:
        """The same, and the final ones once they may be made."""
        return self.earned_by_steps + (self.run.num_final_updates if self.is_collected else 0)

    @property
    def due(self) -> int:
        """Updates earned and not made."""
        return self.earned - self.num_updates

    @property
    def drawable(self) -> int:
        """Updates earned whose samples are not drawn yet."""
        return self.earned - self.num_drawn

    def due_with(self, num_steps: int) -> int:
        """Updates that will be due once all steps under way, and so many more, are in.

        Without the final ones: it tells how many steps to ask for.
        """
        steps = self.num_env_steps + self.steps_under_way + num_steps
        return self.run.num_offline_updates + int(steps * self.ratio) - self.num_updates


def exact(ratio: float) -> Fraction:
    """A ratio as it is written: 0.1 is a tenth."""
    return Fraction(str(ratio))


def updates_for_steps(num_env_steps: int, *, ratio: Fraction, num_random_steps: int) -> int:
    """Updates that env steps earn: none until the random ones are in, then for those, too."""
    return int(num_env_steps * ratio) if num_env_steps >= num_random_steps else 0


def target_version(update: int, *, interval: int, lag: int) -> int:
    """The target network for the batch of an update: the update at which it was copied.

        version(u) = interval * floor(max(0, u - lag) / interval)

    A function of the update alone, so that no machine's speed moves it. With a lag of as many
    updates as are prepared ahead, the network is always there when it is needed.

    Args:
        update: gradient updates before the batch's, >= 0.
        interval: updates between copies, >= 1.
        lag: updates that batches are prepared ahead, >= 0.
    """
    return interval * (max(0, update - lag) // interval)


def updates_until_new_target(update: int, *, interval: int, lag: int) -> int:
    """How many updates from this one on may be drawn together, >= 1.

    All must use one target network, and none may run past an update at which the network is
    copied to be the next.
    """
    until_other = target_version(update, interval=interval, lag=lag) + interval + lag - update
    return min(until_other, interval - update % interval)
