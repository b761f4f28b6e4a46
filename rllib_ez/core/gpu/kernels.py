"""The code of nodes compiled for CUDA, from the functions of `core/search`: one thread a root.

With NUMBA_ENABLE_CUDASIM=1 the same kernels run in plain Python on the CPU: that is how they are
tested without a GPU. Axes: B roots, N nodes.
"""

from __future__ import annotations

import functools
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from numba import cuda as untyped_cuda
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaPerformanceWarning
from torch import Tensor

from rllib_ez.core.search import kernels
from rllib_ez.core.search.nodes import expand_row
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.tree import ROOT, Answer, Edge, Rules, Tree

cuda: Any = untyped_cuda
THREADS_PER_BLOCK = 8  # few: the trees of a block share one L1 cache, about 10 KB each


class Gather(NamedTuple):
    """Where the network finds the parents of the selected edges."""

    where: Any  # [B] i64, row among the N * B latents: parent * B + root
    keep: Any  # [B] f32, factor of the memory: 0 where it is to be forgotten, else 1


@functools.cache
def on_device(function: Dispatcher) -> Any:
    """A function compiled for the CPU, compiled for the GPU: from the same source.

    The functions that it calls are replaced by their own device forms, all the way down.
    """
    plain = function.py_func
    scope = dict(plain.__globals__)
    for name in plain.__code__.co_names:
        if isinstance(scope.get(name), Dispatcher):
            scope[name] = on_device(scope[name])
    copy = types.FunctionType(plain.__code__, scope, plain.__name__)
    return cuda.jit(device=True)(copy)


def simulated() -> bool:
    """Whether kernels run in numba's simulator, on CPU tensors."""
    return "simulator" in cuda.cudadrv.__name__


def as_kernel(function: Any) -> Any:
    """A kernel, compiled by NVVM to the end: where contraction can be turned off.

    numba-cuda would leave it to the linker (`lto`), which cannot be told.
    """
    linked = cuda.implementation == "NVIDIA" and not simulated()
    return cuda.jit(**({"lto": False} if linked else {}))(function)


_select_row = on_device(kernels.select_row)
_expand_row = on_device(expand_row)
_conclude_row = on_device(kernels.conclude_row)


@as_kernel
def select(
    tree: Tree, rules: Rules, plan: Plan, edge: Edge, gather: Gather, simulation: int
) -> None:
    """Chooses the edge that each tree expands; where the budget is used up, a harmless one."""
    row = cuda.grid(1)
    batch = tree.child.shape[0]
    if row >= batch:
        return
    if simulation < plan.budget[row]:
        _select_row(tree, rules, plan, edge, row, simulation)
    else:
        edge.parent[row] = ROOT
        edge.action[row] = 0
        edge.forget[row] = True
    gather.where[row] = edge.parent[row] * batch + row
    gather.keep[row] = 0.0 if edge.forget[row] else 1.0


@as_kernel
def expand(tree: Tree, rules: Rules, plan: Plan, edge: Edge, answer: Answer, node: int) -> None:
    """Adds `node` to each tree whose budget allows it and passes its value up to the root."""
    row = cuda.grid(1)
    if row < tree.child.shape[0] and node <= plan.budget[row]:
        _expand_row(tree, rules, edge, answer, row, node)


@as_kernel
def conclude(tree: Tree, rules: Rules, plan: Plan, out: Conclusion) -> None:
    """Reads each tree that was grown."""
    row = cuda.grid(1)
    if row < tree.child.shape[0] and plan.budget[row] > 0:
        _conclude_row(tree, rules, plan, out, row)


def kernel_view(tensor: Tensor) -> Any:
    """The same memory as kernels take it: a CUDA array, or for the simulator a NumPy array."""
    if not tensor.is_cuda:
        return tensor.numpy()
    return cuda.as_cuda_array(tensor, sync=False)


def launch(kernel: Any, batch: int, *arguments: Any) -> None:
    """Starts a kernel with a thread for each root, on the stream that torch uses now."""
    blocks = -(-batch // THREADS_PER_BLOCK)
    with warnings.catch_warnings(), _no_contraction():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)  # small grids are what we have
        kernel[blocks, THREADS_PER_BLOCK, _current_stream()](*arguments)


def _current_stream() -> Any:
    return 0 if simulated() else cuda.external_stream(torch.cuda.current_stream().cuda_stream)


@contextmanager
def _no_contraction() -> Iterator[None]:
    """What is compiled within keeps a * b + c in two roundings, as the CPU does.

    numba has no option for it, so the call of NVVM is wrapped: without it near ties of scores
    could be decided otherwise than on the CPU.
    """
    if simulated():
        yield
        return
    from numba.cuda.cudadrv import nvvm

    plain = nvvm.compile_ir
    nvvm.compile_ir = functools.partial(plain, fma=False)
    try:
        yield
    finally:
        nvvm.compile_ir = plain
