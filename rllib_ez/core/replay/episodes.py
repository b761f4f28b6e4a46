"""Finished episodes, read back from the ring along their links."""

from __future__ import annotations

from rllib_ez.core.replay.links import FINAL_TERMINATED, FINAL_TRUNCATED, chain, most_context
from rllib_ez.core.replay.ring import Ring
from rllib_ez.core.types import Episode


def read_episode(ring: Ring, last_slot: int, *, episode_id: int, score: float) -> Episode:
    """What the ring still holds of the episode whose final observation is in `last_slot`.

    Args:
        last_slot: as `Replay.add` returned it.
        episode_id: the ring does not keep it; handed through, as `score` is.
        score: rewards of the whole episode before any clipping, summed.

    Returns:
        A copy: its last T steps, T >= 0; `is_first` is False if its beginning was overwritten
        or never arrived.

    Raises:
        ValueError: `last_slot` is outside the ring, or holds no final observation.
    """
    if not 0 <= last_slot < ring.capacity:
        raise ValueError(f"last_slot must be in [0, {ring.capacity}), got {last_slot}")
    kind = int(ring.kind[last_slot])
    if kind not in (FINAL_TERMINATED, FINAL_TRUNCATED):
        raise ValueError(
            f"last_slot must hold an episode's final observation, got {last_slot} of kind {kind}"
        )
    slots = chain(ring.prev_slot, last_slot)
    steps = slots[:-1]
    return Episode(
        episode_id=episode_id,
        is_first=bool(ring.context[slots[0]] == most_context(ring.frame_stack)),
        frames=ring.gather(slots),
        action=ring.action[steps],
        reward=ring.reward[steps],
        policy=ring.policy[steps],
        root_value=ring.root_value[steps],
        collected_at_update=ring.collected_at_update[slots],
        terminated=kind == FINAL_TERMINATED,
        score=score,
    )
