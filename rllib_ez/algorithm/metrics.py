"""Metrics under RLlib's names, so that Tune, TensorBoard and RLlib's helpers find them."""

from __future__ import annotations

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rllib_ez.core.clock import StageClock


def log_steps(metrics: MetricsLogger, num_steps: int) -> None:
    """Counts env steps, and the agent's and module's, which are the same here."""
    metrics.log_value(NUM_ENV_STEPS_SAMPLED, num_steps, reduce="sum")
    metrics.log_value(
        NUM_ENV_STEPS_SAMPLED_LIFETIME, num_steps, reduce="lifetime_sum", with_throughput=True
    )
    metrics.log_value((NUM_AGENT_STEPS_SAMPLED, DEFAULT_AGENT_ID), num_steps, reduce="sum")
    metrics.log_value(
        (NUM_AGENT_STEPS_SAMPLED_LIFETIME, DEFAULT_AGENT_ID), num_steps, reduce="lifetime_sum"
    )
    metrics.log_value((NUM_MODULE_STEPS_SAMPLED, DEFAULT_MODULE_ID), num_steps, reduce="sum")
    metrics.log_value(
        (NUM_MODULE_STEPS_SAMPLED_LIFETIME, DEFAULT_MODULE_ID), num_steps, reduce="lifetime_sum"
    )


def log_stages(metrics: MetricsLogger, clock: StageClock, *path: str) -> None:
    """Adds a clock's seconds to the totals under `path`/stage_seconds and sets it to 0."""
    for name, seconds in clock.seconds.items():
        metrics.log_value((*path, "stage_seconds", name), seconds, reduce="lifetime_sum")
    clock.seconds.clear()


def log_episode(
    metrics: MetricsLogger, config: AlgorithmConfig, *, score: float, length: int
) -> None:
    """One finished episode: unclipped return and length in agent steps."""
    runners = config.evaluation_num_env_runners if config.in_evaluation else config.num_env_runners
    window = max(1, config.metrics_num_episodes_for_smoothing // max(1, runners))
    if config.in_evaluation:
        window = max(window, config.evaluation_duration)
    metrics.log_value(NUM_EPISODES, 1, reduce="sum")
    metrics.log_value(NUM_EPISODES_LIFETIME, 1, reduce="lifetime_sum")
    metrics.log_value(EPISODE_RETURN_MEAN, score, window=window)
    metrics.log_value(EPISODE_LEN_MEAN, length, window=window)
    metrics.log_value(EPISODE_RETURN_MIN, score, reduce="min", window=window)
    metrics.log_value(EPISODE_RETURN_MAX, score, reduce="max", window=window)
    metrics.log_value(EPISODE_LEN_MIN, length, reduce="min", window=window)
    metrics.log_value(EPISODE_LEN_MAX, length, reduce="max", window=window)
