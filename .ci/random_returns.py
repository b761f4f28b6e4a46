"""Prints tuning/data/classic.yaml: measures what a uniformly random policy returns.

python .ci/random_returns.py > tuning/data/classic.yaml

About a minute. Episode i starts from seed i and takes its actions from
`numpy.random.default_rng(i)`, so the same versions of Gymnasium and NumPy give the same numbers.
"""

from __future__ import annotations

import statistics

import gymnasium
import numpy as np

ENVS = ("CartPole-v1", "Acrobot-v1", "LunarLander-v3", "MountainCar-v0")
NUM_EPISODES = 1000

HEAD = """# Written by `python .ci/random_returns.py > tuning/data/classic.yaml`.
reference_name: reward threshold of Gymnasium
sources:
- 'random: mean return of {episodes} episodes with uniformly random actions, seeds 0 to {last},
  Gymnasium {version} (.ci/random_returns.py)'
- 'reward threshold of Gymnasium: gymnasium.spec(env).reward_threshold, Gymnasium {version}'
games:
"""


def main() -> None:
    """Measures and prints."""
    print(page({env_id: random_returns(env_id, NUM_EPISODES) for env_id in ENVS}), end="")


def random_returns(env_id: str, num_episodes: int) -> list[float]:
    """The undiscounted return of each episode."""
    env = gymnasium.make(env_id)
    returns = [_random_return(env, episode) for episode in range(num_episodes)]
    env.close()
    return returns


def _random_return(env: gymnasium.Env, episode: int) -> float:
    rng = np.random.default_rng(episode)
    env.reset(seed=episode)
    total, is_over = 0.0, False
    while not is_over:
        _, reward, terminated, truncated, _ = env.step(int(rng.integers(env.action_space.n)))
        total += float(reward)
        is_over = terminated or truncated
    return total


def page(returns: dict[str, list[float]]) -> str:
    """The whole file, from the returns of each environment's episodes."""
    episodes = len(next(iter(returns.values())))
    head = HEAD.format(episodes=episodes, last=episodes - 1, version=gymnasium.__version__)
    return head + "".join(entry(env_id, found) for env_id, found in returns.items())


def entry(env_id: str, returns: list[float]) -> str:
    """One game; the standard error of its random return as a comment."""
    error = statistics.stdev(returns) / len(returns) ** 0.5
    return (
        f"- name: {env_id}\n"
        f"  env: {env_id}\n"
        f"  random: {statistics.fmean(returns):.2f}  # standard error {error:.2f}\n"
        f"  reference: {float(gymnasium.spec(env_id).reward_threshold)}\n"
    )


if __name__ == "__main__":
    main()
