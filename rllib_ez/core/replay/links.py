"""The linked ring: which slot follows which, and what falls out when a slot is overwritten.

Slots are handed out in arrival order, so positions of different episodes interleave and the
positions of one episode are chained. Within an episode older positions are overwritten first:
a chain that starts at a live slot is whole, only what stood before it may be gone.
Axes: B start positions, M slots, L frame_stack.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rllib_ez.core.replay.compiled import compiled

EMPTY = 0  # never used
STEP = 1  # a position with the action that was taken there
FINAL_TERMINATED = 2  # an episode's final observation, its value is 0
FINAL_TRUNCATED = 3  # an episode's final observation, its value is unknown


class Links(NamedTuple):
    """The ring's structure, one entry a slot."""

    next_slot: np.ndarray  # i64, -1: nothing followed yet, or nothing will
    prev_slot: np.ndarray  # i64, -1: the episode's first observation, or what was before is gone
    generation: np.ndarray  # i64, how often the slot was written, 0: never
    kind: np.ndarray  # u8
    context: np.ndarray  # u8, earlier frames in reach, at most C = max(1, L-1); see `most_context`


@compiled
def most_context(frame_stack: int) -> int:
    """The context C of a position that misses nothing, an episode's first observation included.

    Even where stacks are single frames one earlier position is counted: so the first position
    of a chain has context C if it is its episode's first, and 0 if something came before it.
    """
    return max(1, frame_stack - 1)


@compiled
def append(
    links: Links, first: int, last: int, kinds: np.ndarray, is_first: bool, reach: tuple[int, int]
) -> tuple[int, np.ndarray, np.ndarray]:
    """Writes positions of one episode over the oldest slots, `first` and those after it.

    Args:
        first: the oldest slot.
        last: the slot these positions follow, -1 if there is none (any more).
        kinds: [T] or [T + 1] u8, what each position is.
        is_first: the first of them is the episode's first observation.
        reach: frame_stack and lookahead.

    Returns:
        The slot written last, and in order which slots became sampleable or ceased to be:
        slots [M] i64 and [M] bool.
    """
    frame_stack, lookahead = reach
    most = most_context(frame_stack)
    changed = np.empty(len(kinds) * (frame_stack + 1) + lookahead, np.int64)
    sampleable = np.empty(len(changed), np.bool_)
    num = 0
    for i in range(len(kinds)):
        slot = (first + i) % len(links.kind)
        if links.kind[slot] != EMPTY:
            num = _evict(links, slot, frame_stack, (changed, sampleable), num)
            last = -1 if last == slot else last
        links.kind[slot] = kinds[i]
        links.generation[slot] += 1
        links.next_slot[slot] = -1
        links.prev_slot[slot] = last
        if last != -1:
            links.next_slot[last] = slot
            links.context[slot] = min(most, links.context[last] + 1)
        else:
            links.context[slot] = most if is_first and i == 0 else 0
        last = slot
        num = _mark(links, last, frame_stack, (lookahead, lookahead), (changed, sampleable), num)
    if links.kind[last] != STEP:
        num = _mark(links, last, frame_stack, (1, lookahead - 1), (changed, sampleable), num)
    return last, changed[:num], sampleable[:num]


@compiled
def close(links: Links, last: int, reach: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Makes an open episode's last step its final observation, cut off; returns as `append`."""
    frame_stack, lookahead = reach
    links.kind[last] = FINAL_TRUNCATED
    changed = np.empty(lookahead, np.int64)
    sampleable = np.empty(lookahead, np.bool_)
    num = _mark(links, last, frame_stack, (1, lookahead - 1), (changed, sampleable), 0)
    return changed[:num], sampleable[:num]


@compiled
def _evict(
    links: Links, slot: int, frame_stack: int, changes: tuple[np.ndarray, np.ndarray], num: int
) -> int:
    changed, sampleable = changes
    changed[num], sampleable[num] = slot, False
    num += 1
    follower = links.next_slot[slot]
    if follower != -1:
        links.prev_slot[follower] = -1
    for context in range(most_context(frame_stack)):
        if follower == -1:
            break
        links.context[follower] = context
        if context < frame_stack - 1:  # a part of its stack is lost
            changed[num], sampleable[num] = follower, False
            num += 1
        follower = links.next_slot[follower]
    return num


@compiled
def _mark(
    links: Links,
    last: int,
    frame_stack: int,
    distance: tuple[int, int],
    changes: tuple[np.ndarray, np.ndarray],
    num: int,
) -> int:
    """Notes as sampleable the whole steps that stand lowest..highest positions before `last`."""
    changed, sampleable = changes
    lowest, highest = distance
    slot = last
    for back in range(1, highest + 1):
        slot = links.prev_slot[slot]
        if slot == -1:
            break
        if back >= lowest and links.context[slot] >= frame_stack - 1:
            changed[num], sampleable[num] = slot, True
            num += 1
    return num


@compiled
def follow(
    next_slot: np.ndarray, slot: np.ndarray, num_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """The slots [B, num_steps+1] that follow [B], and [B, num_steps+1] bool where they do.

    Past the end the last slot repeats and is not real.
    """
    slots = np.empty((len(slot), num_steps + 1), np.int64)
    is_real = np.empty((len(slot), num_steps + 1), np.bool_)
    for b in range(len(slot)):
        here, real = slot[b], True
        for k in range(num_steps + 1):
            slots[b, k], is_real[b, k] = here, real
            real = real and next_slot[here] != -1
            here = next_slot[here] if real else here
    return slots, is_real


@compiled
def chain(prev_slot: np.ndarray, last: int) -> np.ndarray:
    """The slots [M] of what is left of an episode before `last`, and `last`, oldest first."""
    num, here = 1, last
    while prev_slot[here] != -1:
        num, here = num + 1, prev_slot[here]
    slots = np.empty(num, np.int64)
    here = last
    for m in range(num - 1, -1, -1):
        slots[m] = here
        here = prev_slot[here]
    return slots


@compiled
def look_back(prev_slot: np.ndarray, slot: np.ndarray, frame_stack: int) -> np.ndarray:
    """The slots [M, L] of each observation's frames, oldest first; the first one repeats."""
    slots = np.empty((len(slot), frame_stack), np.int64)
    for m in range(len(slot)):
        here = slot[m]
        for l in range(frame_stack - 1, -1, -1):  # noqa: E741
            slots[m, l] = here
            here = prev_slot[here] if prev_slot[here] != -1 else here
    return slots
