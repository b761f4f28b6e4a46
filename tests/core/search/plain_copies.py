"""The search's own source run as plain Python: a bug planted in it needs no compiling.

What is copied sees only copies; what is not (random numbers, types) is the real thing.
"""

from __future__ import annotations

import builtins
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from rllib_ez.core.compiled.store import Store
from rllib_ez.core.config import SearchConfig
from rllib_ez.core.search import search
from rllib_ez.core.search.estimates import RootEstimate, StepEstimate
from rllib_ez.core.types import SearchResult
from tests.core.search.worlds import CompiledTable, TableModel, World

SEARCH, COMPILED = "rllib_ez.core.search", "rllib_ez.core.compiled"
FOLDERS = {  # in an order in which each file imports earlier ones only
    **dict.fromkeys("tree nodes plan puct gumbel kernels search".split(), SEARCH),
    **dict.fromkeys(("table", "grow"), COMPILED),
}


class Bug(NamedTuple):
    """One piece of text replaced in one file."""

    name: str
    file: str  # a key of FOLDERS
    right: str
    wrong: str

    @classmethod
    def parsed(cls, text: str) -> list[Bug]:
        """Bugs from lines `name file`, `- right`, `+ wrong`; the last two may be several."""
        found: list[tuple[list[str], list[str], list[str]]] = []
        for line in text.strip().splitlines():
            if line.startswith(("- ", "+ ")):
                found[-1][1 if line[0] == "-" else 2].append(line[2:])
            else:
                found.append((line.split(), [], []))
        return [cls(*head, "\n".join(old), "\n".join(new)) for head, old, new in found]

    def planted_in(self, source: str) -> str:
        """The source with this bug; its text must be there exactly once."""
        times = source.count(self.right)
        assert times == 1, f"{self.name}: {self.right!r} stands {times} times in {self.file}.py"
        return source.replace(self.right, self.wrong)


class PlainSearch:
    """`search` of a copy, with a bug planted or without."""

    def __init__(self, bug: Bug | None = None) -> None:
        self.modules: dict[str, ModuleType] = {}
        for file, folder in FOLDERS.items():
            source = source_of(f"{folder}.{file}")
            if bug is not None and bug.file == file:
                source = bug.planted_in(source)
            module = ModuleType(f"{folder}.{file}")
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self.imported}
            exec(compiled(source, f"<copy of {file}.py>"), module.__dict__)
            self.modules[module.__name__] = module

    def imported(self, name: str, *scope: Any) -> Any:
        """`import` as a copy does it: copies first, and decorators that compile nothing."""
        if name in ("numba", "numba.extending", f"{SEARCH}.lean"):
            return SimpleNamespace(njit=lambda **_: same, overload=lambda _: same, lean=same)
        if name in self.modules:
            return self.modules[name]
        real = __import__(name, *scope)
        if name not in (SEARCH, COMPILED):
            return real
        copies = {file: m for file in FOLDERS if (m := self.modules.get(f"{name}.{file}"))}
        return SimpleNamespace(**{**vars(real), **copies})

    def __getitem__(self, file: str) -> ModuleType:
        return self.modules[f"{FOLDERS[file]}.{file}"]

    def search(self, world: World, states: np.ndarray, **arguments: Any) -> SearchResult:
        """As `search`, with a call of the model per step; its value prefix is bent."""
        return self._search(BentTable(world), world, states, **arguments)

    def whole_search(self, world: World, states: np.ndarray, **arguments: Any) -> SearchResult:
        """As `search`, in the loop that is compiled."""
        return self._search(PlainTable(self, world), world, states, **arguments)

    def _search(
        self, model: Any, world: World, states: np.ndarray, *, settings: dict[str, Any], **rest: Any
    ) -> SearchResult:
        root = world.root(states)
        # Plain Python adds two f32 as f32, numba as f64: as f64 the same numbers do the same.
        root = RootEstimate(root.latent, root.prior.astype(np.float64), root.value)
        return self["search"].search(model, root, config=SearchConfig(**settings), **rest)  # type: ignore[no-any-return]


class BentTable(TableModel):
    """Its value prefix is no mere sum of rewards: where the sum starts anew is seen in them."""

    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> StepEstimate:
        """As `TableModel`."""
        said = super().step(latent, memory, action)
        return replace(said, value_prefix=bent(said.value_prefix))


def bent(total: Any) -> Any:
    """What a bent model says of a sum of rewards, f32."""
    return total + total * total / np.float32(16)


class CompiledSearch:
    """The real search in the same two forms."""

    def search(self, world: World, states: np.ndarray, **arguments: Any) -> SearchResult:
        """As `PlainSearch.search`."""
        return self._search(BentTable(world), world, states, **arguments)

    def whole_search(self, world: World, states: np.ndarray, **arguments: Any) -> SearchResult:
        """As `PlainSearch.whole_search`."""
        return self._search(CompiledTable(world), world, states, **arguments)

    def _search(
        self, model: Any, world: World, states: np.ndarray, *, settings: dict[str, Any], **rest: Any
    ) -> SearchResult:
        return search(model, world.root(states), config=SearchConfig(**settings), **rest)


class PlainTable:
    """As `CompiledTable`, of copies."""

    def __init__(self, plain: PlainSearch, world: World) -> None:
        self.plain = plain
        tables = world.next_state, world.reward, world.prior, world.value
        self.net = plain["table"].TableNet(*tables)

    def run(self, latent: Tensor, tree: Any, rules: Any, plan: Any) -> Any:
        """Grows planted trees whose roots are the states in `latent` [B, 1]."""
        batch, nodes, actions = tree.child.shape
        store = Store.make(batch, nodes, latent=1, memory=1)
        store.latent[:, 0] = latent.numpy()
        kinds, work = self.plain["tree"], self.plain["table"].TableWork(batch)
        edge, answer = kinds.Edge.blank(batch), kinds.Answer.blank(batch, actions)
        self.plain["grow"].grow(self.net, work, store, tree, rules, plan, edge, answer)
        out = self.plain["plan"].Conclusion.blank(batch, actions)
        self.plain["kernels"].conclude(tree, rules, plan, out)
        return out


def same(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


@cache
def source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text()


@cache
def compiled(source: str, name: str) -> CodeType:
    return compile(source, name, "exec")
