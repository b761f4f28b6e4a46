"""Every invariant of the linked ring, looked at from outside.

Axes: U slots in use.
"""

from __future__ import annotations

import numpy as np

from rllib_ez.core.replay.links import EMPTY, STEP, Links, most_context


def check_links(links: Links, oldest: int, frame_stack: int) -> None:
    """Raises RuntimeError unless links are mutual, run forward in time and know their context."""
    used = np.flatnonzero(links.kind != EMPTY)
    _demand(bool((links.generation[used] >= 1).all()), "a slot in use has generation 0")
    _demand(int((links.generation > 0).sum()) == len(used), "an empty slot has a generation")
    following, before = links.next_slot[used], links.prev_slot[used]
    for name, slots in (("next_slot", following), ("prev_slot", before)):
        inside = (slots >= -1) & (slots < len(links.kind))
        _demand(bool(inside.all()), f"{name} points outside the ring")
        _demand(bool((links.kind[slots[slots >= 0]] != EMPTY).all()), f"{name} names an empty slot")
    linked, led = following >= 0, before >= 0
    _demand(np.array_equal(links.prev_slot[following[linked]], used[linked]), "next is not mutual")
    _demand(np.array_equal(links.next_slot[before[led]], used[led]), "prev is not mutual")
    _demand(bool((links.kind[used[linked]] == STEP).all()), "something follows a final observation")
    arrival = (np.arange(len(links.kind)) - oldest) % len(links.kind)
    _demand(bool((arrival[following[linked]] > arrival[used[linked]]).all()), "time runs backward")
    context, most = links.context[used].astype(np.int64), most_context(frame_stack)
    expected = np.minimum(most, links.context[before[led]].astype(np.int64) + 1)
    _demand(np.array_equal(context[led], expected), "context does not grow by one")
    heads = context[~led]
    _demand(bool(((heads == 0) | (heads == most)).all()), "a chain starts with half a context")


def sampleable_slots(links: Links, frame_stack: int, lookahead: int) -> np.ndarray:
    """The rule, slot by slot [capacity] bool: a whole step whose future is known or over."""
    used = np.flatnonzero(links.kind != EMPTY)
    here = used.copy()
    known = np.zeros(len(used), np.int64)
    for _ in range(lookahead):
        onward = links.next_slot[here]
        known += onward >= 0
        here = np.where(onward >= 0, onward, here)
    ready = (known == lookahead) | (links.kind[here] != STEP)
    ready &= (links.kind[used] == STEP) & (links.context[used] >= frame_stack - 1)
    allowed = np.zeros(len(links.kind), bool)
    allowed[used[ready]] = True
    return allowed


def open_tails(links: Links) -> list[int]:
    """The slots, ascending, whose episode goes on, but has not yet."""
    tails: list[int] = np.flatnonzero((links.kind == STEP) & (links.next_slot < 0)).tolist()
    return tails


def _demand(ok: bool, broken: str) -> None:
    if not ok:
        raise RuntimeError(f"replay is broken: {broken}")
