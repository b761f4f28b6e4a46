"""Everything that a search of one size needs on a device, at addresses that never change.

Axes: B roots (padded), N nodes, A actions, S simulations, F latent_size, M memory_size.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rllib_ez.core.gpu import kernels
from rllib_ez.core.gpu.kernels import Gather, kernel_view, launch
from rllib_ez.core.gpu.parcel import Field, Parcel, named, parcel_bytes
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.tree import ROOT, Answer, Edge, Rules, Tree


class Imagined(NamedTuple):
    """What the network says of B imagined steps; all stays on the device."""

    latent: Tensor  # [B, F]
    memory: Tensor  # [B, 2M], the LSTM's h, then c
    prior: Tensor  # [B, A] f32, rows sum to 1
    value_prefix: Tensor  # [B] f32, reward units
    value: Tensor  # [B] f32, reward units


class DeviceNetwork(Protocol):
    """What a search on a device asks of a network. Rows must not influence each other."""

    latent_size: int  # F
    memory_size: int  # M
    dtype: torch.dtype  # of latents and memories

    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> Imagined:
        """Imagines one step: latent [B, F], memory [B, 2M], action [B] i64."""
        ...


class Size(NamedTuple):
    """What is fixed once a search has been captured."""

    batch: int  # B
    actions: int  # A
    simulations: int  # S, the largest budget
    constants: tuple[Any, ...]  # `Rules` but for its table, which is brought in with the roots

    @classmethod
    def of(cls, tree: Tree, rules: Rules, *, batch: int) -> Size:
        """The size of a search of these trees, padded to `batch` roots."""
        _, nodes, actions = tree.child.shape
        constants = named(rules) | {"exploration": None}
        return cls(batch, actions, nodes - 1, tuple(constants.values()))


class Room:
    """The buffers of one size, and the search that runs in them."""

    def __init__(self, size: Size, rules: Rules, network: DeviceNetwork, device: torch.device):
        self.size, self.network = size, network
        batch, nodes = size.batch, size.simulations + 1
        options: dict[str, Any] = {"dtype": network.dtype, "device": device}
        self.latents = torch.zeros((nodes, batch, network.latent_size), **options)
        self.memories = torch.zeros((nodes, batch, 2 * network.memory_size), **options)
        self.latent = torch.zeros_like(self.latents[ROOT])  # of the parents
        self.memory = torch.zeros_like(self.memories[ROOT])
        self.given, self.concluded, self.trees, self.between = (
            Parcel(fields, device) for fields in fields_of(size)
        )
        for name, array in named(_bare_trees(size, batch), "tree.").items():
            self.trees.arrays[name][:] = array
        self.trees.send()
        self.bare_trees = self.trees.device.clone()
        self._name_views(rules)

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """All but latents and memories."""
        return self.given, self.concluded, self.trees, self.between

    def _name_views(self, rules: Rules) -> None:
        """The tensors as the tuples of arrays that kernels take."""
        views: dict[str, Any] = {}
        for parcel in self.parcels:
            views |= {name: kernel_view(tensor) for name, tensor in parcel.tensors.items()}

        def of(prefix: str) -> list[Any]:  # in the order of the tuple's fields
            return [view for name, view in views.items() if name.startswith(prefix)]

        self.tree, self.plan, self.edge = Tree(*of("tree.")), Plan(*of("plan.")), Edge(*of("edge."))
        self.gather, self.answer = Gather(*of("gather.")), Answer(*of("answer."))
        self.out = Conclusion(*of("out."))
        self.rules = Rules(**(named(rules) | {"exploration": views["exploration"]}))

    def enter(self, latent: Tensor, tree: Tree, rules: Rules, plan: Plan) -> None:
        """Brings roots in, at most B with latents as rows [.., F]; other rows get no budget."""
        count, arrays = len(plan.budget), self.given.arrays
        arrays["plan.budget"][count:] = 0
        for name, array in named(plan, "plan.").items():
            arrays[name][tuple(slice(side) for side in array.shape)] = array
        arrays["exploration"][: len(rules.exploration)] = rules.exploration
        arrays["root.prior"][:count] = tree.prior[:, ROOT]
        arrays["root.value"][:count] = tree.raw_value[:, ROOT]
        self.given.send()
        self.latents[ROOT, :count].copy_(latent)

    def grow(self) -> None:
        """The whole search, from bare roots to the conclusion; the host waits for nothing."""
        batch = self.size.batch
        common = (self.tree, self.rules, self.plan)
        self._plant()
        for simulation in range(self.size.simulations):
            launch(kernels.select, batch, *common, self.edge, self.gather, simulation)
            self._imagine(simulation + 1)
            launch(kernels.expand, batch, *common, self.edge, self.answer, simulation + 1)
        launch(kernels.conclude, batch, *common, self.out)

    def leave(self, count: int) -> Conclusion:
        """What was concluded about the first `count` roots, by value; after `concluded.fetch`."""
        return Conclusion(*(array[:count].copy() for array in self.concluded.arrays.values()))

    def fetch_trees(self, tree: Tree) -> None:
        """Copies what a trace is read from, of the first rows and nodes, into trees on the host."""
        count, nodes, _ = tree.child.shape  # both may be fewer than there is room for
        for name in ("child", "visits", "q"):
            grown = self.trees.tensors[f"tree.{name}"][:count, :nodes]
            torch.from_numpy(getattr(tree, name)).copy_(grown)

    def _plant(self) -> None:
        """Trees that hold their roots only: see `Tree.plant`."""
        trees, given = self.trees.tensors, self.given.tensors
        self.trees.device.copy_(self.bare_trees)
        trees["tree.prior"][:, ROOT].copy_(given["root.prior"])
        trees["tree.value_sum"][:, ROOT].copy_(given["root.value"])
        trees["tree.raw_value"][:, ROOT].copy_(given["root.value"])
        self.concluded.device.zero_()  # nothing is concluded about a root without a budget

    def _imagine(self, node: int) -> None:
        """Asks the network about the selected edges; the answers become those of `node`."""
        here = self.between.tensors
        where = here["gather.where"]
        torch.index_select(self.latents.flatten(0, 1), 0, where, out=self.latent)
        torch.index_select(self.memories.flatten(0, 1), 0, where, out=self.memory)
        self.memory.mul_(here["gather.keep"][:, None])
        out = self.network.step(self.latent, self.memory, here["edge.action"])
        self.latents[node].copy_(out.latent)
        self.memories[node].copy_(out.memory)
        for name in ("prior", "value_prefix", "value"):
            here[f"answer.{name}"].copy_(getattr(out, name))


def fields_of(size: Size) -> tuple[dict[str, Field], ...]:
    """The arrays of the four parcels of a room: given, concluded, trees, between.

    Their types and shapes are those of the CPU's search, for one root, with B in its place.
    """
    batch, actions, simulations, _ = size
    plan = Plan(
        budget=np.empty(1, np.int32),
        legal=np.empty((1, actions), np.bool_),
        seed=np.empty(1, np.uint64),
        gumbel=np.empty((1, actions), np.float64),
        schedule=np.empty((1, simulations), np.int32),
    )
    root: dict[str, Any] = {
        "prior": np.empty((1, actions), np.float32),
        "value": np.empty(1, np.float64),
    }
    gather = Gather(np.empty(1, np.int64), np.empty(1, np.float32))
    given = named(plan, "plan.") | {"root." + name: array for name, array in root.items()}
    between = named(gather, "gather.") | named(Edge.blank(1), "edge.")
    between |= named(Answer.blank(1, actions), "answer.")
    concluded = named(Conclusion.blank(1, actions), "out.")
    trees = named(_bare_trees(size, 1), "tree.")
    fields = tuple(
        {name: Field(array.dtype, (batch, *array.shape[1:])) for name, array in arrays.items()}
        for arrays in (given, concluded, trees, between)
    )
    fields[0]["exploration"] = Field(np.dtype(np.float64), (simulations + 2,))
    return fields


def room_bytes(size: Size, network: DeviceNetwork) -> int:
    """What a `Room` takes on the device; what the network needs in passing is not in it."""
    given, concluded, trees, between = (parcel_bytes(fields) for fields in fields_of(size))
    row = (network.latent_size + 2 * network.memory_size) * network.dtype.itemsize
    states = (size.simulations + 2) * size.batch * row  # of all nodes, and of the parents again
    return states + given + concluded + 2 * trees + between


def _bare_trees(size: Size, batch: int) -> Tree:
    prior = np.zeros((batch, size.actions), np.float32)
    return Tree.plant(prior, np.zeros(batch, np.float32), nodes=size.simulations + 1)
