"""Metrics under RLlib's names, so that Tune, TensorBoard and RLlib's helpers find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from rllib_ez.algorithm.pipeline import Pipeline


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


def log_pipeline(metrics: MetricsLogger, pipeline: Pipeline) -> None:
    """How the pipeline stands, under "pipeline"; seconds by role and stage, since the start."""
    shards, sampling, preparation = pipeline.shards, pipeline.sampling, pipeline.preparation
    asked, computed = shards.total("num_asked"), shards.total("num_computed")
    counts = {
        "num_env_steps": pipeline.num_env_steps,
        "num_updates": pipeline.num_updates,
        "num_updates_due": pipeline.credits.due,
        "target_version": preparation.version_at(pipeline.num_updates),
        "replay_positions": shards.total("num_positions"),
        "replay_bytes": shards.total("nbytes"),
        "num_episodes": shards.total("num_episodes"),
        "num_roots_reanalysed": computed,
        "reanalyse_hit_rate": 1 - computed / max(1, asked),
        "oldest_weights_updates": sampling.oldest_weights,
        "num_env_runners_lost": sampling.num_lost,
        "num_reanalyse_actors_lost": preparation.num_lost,
    }
    for name, value in counts.items():
        metrics.log_value(("pipeline", name), value, window=1)
    for role, seconds in pipeline.seconds().items():
        for stage, value in seconds.items():
            metrics.log_value(("pipeline", "seconds", role, stage), value, window=1)


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
