"""What the network is taught at each sampled position.

Axes: B samples, K unroll_steps, A actions; windows are K + td_steps steps long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rllib_ez.core.config import TargetsConfig
from rllib_ez.core.replay import FINAL_TERMINATED, FINAL_TRUNCATED, Replay
from rllib_ez.core.target_cache import TargetCache, Wanted
from rllib_ez.core.types import SampledWindows, TrainBatch


@dataclass(frozen=True, slots=True)
class Windows:
    """The steps that the targets of B samples read, as far as their episodes reach."""

    slots: np.ndarray  # [B, K+td+1] i64, past the end the last slot repeats
    length: np.ndarray  # [B] i64, steps before the end, at most K + td
    reward: np.ndarray  # [B, K+td] f32, 0 past the end
    terminated: np.ndarray  # [B] bool, the window reaches a real end: nothing comes after
    truncated: np.ndarray  # [B] bool, the window reaches a cut: what comes after is unknown


def read_windows(replay: Replay, start: np.ndarray, *, num_steps: int) -> Windows:
    """Follows each start [B] i64 for `num_steps` steps or to its episode's end."""
    slots, is_real = replay.window_slots(start, num_steps)
    length = is_real.sum(axis=1) - 1
    last_kind = replay.kind[slots[:, -1]]
    before_end = np.arange(num_steps) < length[:, None]
    reward = np.where(before_end, replay.reward[slots[:, :-1]], 0).astype(np.float32)
    return Windows(
        slots, length, reward, last_kind == FINAL_TERMINATED, last_kind == FINAL_TRUNCATED
    )


def dynamic_horizon(
    age_updates: np.ndarray, *, td_steps: int, horizon_decay_updates: int
) -> np.ndarray:
    """The off-policy correction: the older the sample, the sooner it bootstraps.

        l = clip(td_steps - floor(age / horizon_decay_updates), 1, td_steps)

    The paper's tau * T_total is `horizon_decay_updates`.

    Args:
        age_updates: [B] i64, gradient updates since the sample was collected.
        td_steps: of fresh samples, >= 1.
        horizon_decay_updates: >= 1.

    Returns:
        [B] i64.

    Source: EfficientZero, arXiv:2111.00210, eq. 12.
    """
    return np.asarray(np.clip(td_steps - age_updates // horizon_decay_updates, 1, td_steps))


def bootstrap_offsets(horizon: np.ndarray, length: np.ndarray, *, unroll_steps: int) -> np.ndarray:
    """How many rewards the value target of each unrolled position sums.

        n[b, k] = max(0, min(horizon[b], length[b] - k))

    Args:
        horizon: [B] i64, at least 1.
        length: [B] i64, steps before the window's end.
        unroll_steps: K.

    Returns:
        [B, K+1] i64.
    """
    left = length[:, None] - np.arange(unroll_steps + 1)
    return np.asarray(np.maximum(0, np.minimum(horizon[:, None], left)))


def n_step_value_targets(
    reward: np.ndarray, bootstrap: np.ndarray, num_steps: np.ndarray, *, discount: float
) -> np.ndarray:
    """Discounted rewards up to the horizon, then the bootstrap value, at every position.

        z[b, k] = sum_{i < n[b,k]} discount**i * reward[b, k+i] + discount**n[b,k] * bootstrap[b, k]

    Args:
        reward: [B, W] f32, reward[b, j] follows the action of window step j; W >= K + max(n).
        bootstrap: [B, K+1] f32, value of position k + n[b, k]; 0 past a real end.
        num_steps: [B, K+1] i64, n, >= 0.
        discount: per env step, in (0, 1].

    Returns:
        [B, K+1] f32, in reward units.

    Raises:
        ValueError: `reward` is too short for the longest horizon.

    Source: MuZero, arXiv:1911.08265; EfficientZero, arXiv:2111.00210, eq. 12.
    """
    positions = bootstrap.shape[1]
    needed = int(np.where(num_steps > 0, num_steps + np.arange(positions), 0).max(initial=0))
    if reward.shape[1] < needed:
        raise ValueError(
            f"reward must hold {needed} steps per row (positions and horizon), "
            f"got {reward.shape[1]}"
        )
    total = bootstrap * discount ** num_steps.astype(np.float64)
    for i in range(int(num_steps.max(initial=0))):
        ahead = np.zeros(bootstrap.shape)
        width = min(positions, reward.shape[1] - i)
        ahead[:, :width] = reward[:, i : i + width]
        total += np.where(i < num_steps, discount**i * ahead, 0)
    return total.astype(np.float32)


def value_prefix_targets(reward: np.ndarray, *, lstm_horizon: int) -> np.ndarray:
    """Rewards summed since the LSTM's last reset, undiscounted.

        prefix[k] = reward[k] + (0 if k % lstm_horizon == 0 else prefix[k-1])

    Args:
        reward: [B, K] f32, reward[b, k] follows unrolled action k; 0 past the end.
        lstm_horizon: >= 1; 1 makes the prefix the plain reward.

    Returns:
        [B, K] f32.

    Source: EfficientZero, arXiv:2111.00210, section 4.2 (without the discount: deviations.md).
    """
    prefix = np.zeros(reward.shape)
    for k in range(reward.shape[1]):
        prefix[:, k] = reward[:, k] + (prefix[:, k - 1] if k % lstm_horizon else 0)
    return prefix.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Draft:
    """Training samples whose fresh policies and values may still have to be searched.

    Holds copies: what happens to replay later does not touch it.
    """

    sample: SampledWindows
    windows: Windows
    num_steps: np.ndarray  # [B, K+1] i64, rewards in each value target
    action: np.ndarray  # [B, K] i64, random past the end
    is_step: np.ndarray  # [B, K+1] bool, an action was taken there
    reanalysed: np.ndarray  # [B, K+1] bool, the policy target is a fresh one
    fresh_value: np.ndarray  # [B, K+1] bool, the bootstrap value is a fresh one
    bootstrap_slots: np.ndarray  # [B, K+1] i64
    at_end: np.ndarray  # [B, K+1] bool, the world ended there: value 0
    policy: np.ndarray  # [B, K+1, A] f32, as stored when acting
    root_value: np.ndarray  # [B, K+1] f32, as stored when acting, of the bootstrap slots
    wanted: Wanted


class TargetBuilder:
    """Turns sampled windows into training batches, in two steps around reanalyse."""

    def __init__(self, config: TargetsConfig, replay: Replay, cache: TargetCache) -> None:
        self.config = config
        self.replay = replay
        self.cache = cache

    def draft(
        self, sample: SampledWindows, *, update: int, version: int, rng: np.random.Generator
    ) -> Draft:
        """Reads off replay what B samples need; what is missing stands in `wanted`.

        Args:
            sample: from `Replay.sample`.
            update: gradient updates before this one, for the samples' age.
            version: the target network's.
            rng: draws actions past the end, and which samples are reanalysed.
        """
        config, replay = self.config, self.replay
        K = config.unroll_steps
        windows = read_windows(replay, sample.slot, num_steps=K + config.td_steps)
        num_steps = self._horizons(sample, windows, update=update)
        ahead = num_steps + np.arange(K + 1)  # [B, K+1], window step to bootstrap from
        ahead = np.minimum(ahead, windows.length[:, None])
        bootstrap_slots = np.take_along_axis(windows.slots, ahead, axis=1)
        slots = windows.slots[:, : K + 1]
        is_step = np.arange(K + 1) < windows.length[:, None]
        chosen = rng.random(len(slots)) < config.reanalyse_fraction
        reanalysed = is_step & chosen[:, None]
        fresh_value = self._fresh_values(bootstrap_slots)
        action = replay.action[slots[:, :K]].astype(np.int64)
        anything = rng.integers(replay.policy.shape[1], size=action.shape)
        fresh = np.concatenate((slots[reanalysed], bootstrap_slots[fresh_value]))
        return Draft(
            sample=sample,
            windows=windows,
            num_steps=num_steps,
            action=np.where(is_step[:, :K], action, anything),
            is_step=is_step,
            reanalysed=reanalysed,
            fresh_value=fresh_value,
            bootstrap_slots=bootstrap_slots,
            at_end=windows.terminated[:, None] & (ahead == windows.length[:, None]),
            policy=replay.policy[slots],
            root_value=replay.root_value[bootstrap_slots],
            wanted=self.cache.ask(fresh, version=version),
        )

    def finish(self, draft: Draft) -> TrainBatch:
        """The batch, once everything that was wanted is known.

        Raises:
            RuntimeError: something is still missing.
        """
        config, windows, wanted = self.config, draft.windows, draft.wanted
        if not wanted.known.all():
            missing = int((~wanted.known).sum())
            raise RuntimeError(f"wanted must be complete, got {missing} positions not searched yet")
        K = config.unroll_steps
        policy, values = draft.policy.copy(), draft.root_value.copy()
        policy[draft.reanalysed] = wanted.policy[
            wanted.rows(windows.slots[:, : K + 1][draft.reanalysed])
        ]
        values[draft.fresh_value] = wanted.value(config.bootstrap)[
            wanted.rows(draft.bootstrap_slots[draft.fresh_value])
        ]
        bootstrap = np.where(draft.at_end, 0, values)
        past_cut = windows.truncated[:, None] & ~draft.is_step
        return TrainBatch(
            frames=draft.sample.frames,
            action=draft.action,
            value_prefix=value_prefix_targets(
                windows.reward[:, :K], lstm_horizon=config.lstm_horizon
            ),
            value=n_step_value_targets(
                windows.reward, bootstrap, draft.num_steps, discount=config.discount
            ),
            policy=policy,
            value_mask=(~past_cut).astype(np.float32),
            policy_mask=draft.is_step.astype(np.float32),
            prefix_mask=(~past_cut[:, :K]).astype(np.float32),
            consistency_mask=draft.is_step[:, :K].astype(np.float32),
            is_weight=draft.sample.is_weight,
            slot=draft.sample.slot,
            generation=draft.sample.generation,
        )

    def _horizons(self, sample: SampledWindows, windows: Windows, *, update: int) -> np.ndarray:
        config = self.config
        horizon = np.full(len(sample.slot), config.td_steps)
        if config.off_policy_correction:
            age = update - self.replay.collected_at_update[sample.slot]
            horizon = dynamic_horizon(
                age,
                td_steps=config.td_steps,
                horizon_decay_updates=config.horizon_decay_updates,
            )
        return bootstrap_offsets(horizon, windows.length, unroll_steps=config.unroll_steps)

    def _fresh_values(self, bootstrap_slots: np.ndarray) -> np.ndarray:
        """Which bootstrap values [B, K+1] are searched anew, bool.

        All but those of a real end, whose value is 0; where nothing is reanalysed, only those
        at a cut, for which no search was ever run.
        """
        kind = self.replay.kind[bootstrap_slots]
        if self.config.reanalyse_fraction == 0:
            return np.asarray(kind == FINAL_TRUNCATED)
        return np.asarray(kind != FINAL_TERMINATED)
