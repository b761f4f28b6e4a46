"""A whole search on one device: captured once per size as a CUDA graph, then replayed.

Axes: B roots, A actions.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from rllib_ez.core.gpu.kernels import simulated
from rllib_ez.core.gpu.room import DeviceNetwork, Room, Size, room_bytes
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.tree import Rules, Tree

WARM_UPS = 2  # uncaptured runs: kernels are compiled, libraries take their workspaces
SPARE_SIMULATIONS = 1.25  # a capture of up to so many times the simulations will do


def padded_batch(batch: int) -> int:
    """B rounded up to a size worth capturing: 8, 16 .. 1024, 1536, then multiples of 512."""
    if batch > 1024:
        return -(-batch // 512) * 512
    return max(8, 1 << (batch - 1).bit_length())


class Capture:
    """A `Room`, and on a GPU the graph of the search in it."""

    def __init__(self, room: Room, stream: Any, *, pool: Any, captured: bool) -> None:
        self.room, self._stream = room, stream
        self.graph: Any = graph_of(room.grow, stream, pool=pool) if captured else None

    def run(
        self, latent: Tensor, tree: Tree, rules: Rules, plan: Plan, *, keep_tree: bool
    ) -> Conclusion:
        """One search; returns when its conclusion, and the trees if kept, are on the host."""
        if self._stream is None:
            return self._run(latent, tree, rules, plan, keep_tree=keep_tree)
        self._stream.wait_stream(torch.cuda.current_stream())  # the latents come from there
        with torch.cuda.stream(self._stream):
            return self._run(latent, tree, rules, plan, keep_tree=keep_tree)

    def _run(
        self, latent: Tensor, tree: Tree, rules: Rules, plan: Plan, *, keep_tree: bool
    ) -> Conclusion:
        self.room.enter(latent, tree, rules, plan)
        if self.graph is None:
            self.room.grow()
        else:
            self.graph.replay()
        self.room.concluded.fetch()
        if keep_tree:
            self.room.fetch_trees(tree)
        if self._stream is not None:
            self._stream.synchronize()
        return self.room.leave(len(plan.budget))


def graph_of(call: Callable[[], object], stream: Any, *, pool: Any = None) -> Any:
    """A CUDA graph of what `call` starts, captured as torch's documentation says.

    What `call` reads and writes must stay at its address for as long as the graph is replayed.
    """
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            call()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    # thread_local: what other threads of the process do meanwhile does not end the capture.
    mode = "thread_local"
    with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode=mode):
        call()
    return graph


class DeviceSearch:
    """Searches on one device; keeps the captures used last.

    Args:
        network: imagines steps. What it reads must stay at its address: weights are changed in
            place, and reach what has been captured.
        device: a CUDA device; "cpu" in numba's simulator only.
        captured: replay CUDA graphs; else every kernel is started by the host, one by one.
        max_captures: the one used longest ago is dropped beyond, >= 1.
        max_bytes: of all captures together, see `room_bytes`; the last one is kept in any case.
    """

    def __init__(
        self,
        network: DeviceNetwork,
        device: torch.device,
        *,
        captured: bool = True,
        max_captures: int = 8,
        max_bytes: int = 8 * 2**30,
    ) -> None:
        on_gpu = device.type == "cuda"
        if on_gpu == simulated():
            raise ValueError(
                f"device must be 'cuda', or 'cpu' in numba's simulator (NUMBA_ENABLE_CUDASIM=1, "
                f"set before numba.cuda is imported), got {str(device)!r}"
            )
        self.network, self.device = network, device
        self.max_captures, self.max_bytes = max_captures, max_bytes
        self.captures: OrderedDict[Size, Capture] = OrderedDict()  # the last used last
        self._captured = captured and on_gpu
        self._lock = threading.Lock()  # the buffers hold one search at a time
        self._stream: Any = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
        # One pool: searches run one after the other, so they may share what they need in passing.
        self._pool = torch.cuda.graph_pool_handle() if self._captured else None

    @torch.no_grad()
    def run(
        self, latent: Tensor, tree: Tree, rules: Rules, plan: Plan, *, keep_tree: bool = False
    ) -> Conclusion:
        """Grows trees from root latents [B, ...] and concludes; `tree` itself stays as it is.

        Of `tree` only the roots' priors and values are read. A budget of 0 is allowed: nothing
        is concluded about such a root, its row of the result is 0. `keep_tree`: `child`, `visits`
        and `q` of the grown trees are copied into `tree`, nothing else of them.
        """
        on_device = torch.cuda.device(self.device) if self._stream is not None else nullcontext()
        with self._lock, on_device:
            return self._capture(tree, rules).run(latent, tree, rules, plan, keep_tree=keep_tree)

    def _capture(self, tree: Tree, rules: Rules) -> Capture:
        wanted = Size.of(tree, rules, batch=padded_batch(len(tree.child)))
        found = self._fitting(wanted)
        if found is None:
            self._make_space(room_bytes(wanted, self.network))
            room = Room(wanted, rules, self.network, self.device)
            capture = Capture(room, self._stream, pool=self._pool, captured=self._captured)
            self.captures[wanted] = capture
            return capture
        self.captures.move_to_end(found)
        return self.captures[found]

    def _fitting(self, wanted: Size) -> Size | None:
        """The smallest capture that does: rows stop by their own budgets."""
        alike = (wanted.batch, wanted.actions, wanted.constants)
        most = SPARE_SIMULATIONS * wanted.simulations
        fitting = [
            size
            for size in self.captures
            if (size.batch, size.actions, size.constants) == alike
            and wanted.simulations <= size.simulations <= most
        ]
        return min(fitting, key=lambda size: size.simulations, default=None)

    def _make_space(self, needed: int) -> None:
        while self.captures:
            used = sum(room_bytes(size, self.network) for size in self.captures)
            if len(self.captures) < self.max_captures and used + needed <= self.max_bytes:
                return
            self.captures.popitem(last=False)
