"""What the past is remembered by: a ring of linked positions, drawn by priority."""

from rllib_ez.core.replay.buffer import Replay
from rllib_ez.core.replay.links import EMPTY, FINAL_TERMINATED, FINAL_TRUNCATED, STEP
from rllib_ez.core.replay.memory import MemoryEstimate, check_fits, estimate_bytes

__all__ = [
    "EMPTY",
    "FINAL_TERMINATED",
    "FINAL_TRUNCATED",
    "STEP",
    "MemoryEstimate",
    "Replay",
    "check_fits",
    "estimate_bytes",
]
