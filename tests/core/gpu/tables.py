"""The worlds of `tests.core.search.worlds` as a network on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rllib_ez.core.config import SearchConfig
from rllib_ez.core.gpu.room import Imagined
from rllib_ez.core.gpu.search import DeviceSearch
from rllib_ez.core.search import search
from rllib_ez.core.types import SearchResult
from tests.core.search.worlds import TableModel, World

FIELDS = ("action", "policy", "visit_counts", "visit_probs", "root_value", "network_value")


class TableNetwork:
    """`TableModel` in torch: the latent [B, 1] is the state's number."""

    latent_size = 1
    memory_size = 1
    dtype = torch.float32

    def __init__(self, world: World, device: torch.device) -> None:
        self.next_state = torch.from_numpy(world.next_state).to(device)
        self.reward, self.prior, self.value = (
            torch.from_numpy(table).to(device) for table in (world.reward, world.prior, world.value)
        )

    def step(self, latent: Tensor, memory: Tensor, action: Tensor) -> Imagined:
        state = latent[:, 0].long()
        prefix = memory[:, 0] + self.reward[state, action]
        after = self.next_state[state, action]
        return Imagined(
            latent=after.float()[:, None],
            memory=torch.stack((prefix, -prefix), dim=1),
            prior=self.prior[after],
            value_prefix=prefix,
            value=self.value[after],
        )


def both(
    world: World, states: Any, device: torch.device | DeviceSearch, **settings: Any
) -> tuple[SearchResult, SearchResult]:
    """What the search on the device says, and what the one on the CPU says."""
    arguments = {
        name: settings.pop(name, default)
        for name, default in {
            "seeds": np.arange(len(states), dtype=np.uint64),
            "legal": None,
            "num_simulations": None,
            "root_noise": False,
            "trace": False,
        }.items()
    }
    ours = device
    if isinstance(device, torch.device):
        ours = DeviceSearch(TableNetwork(world, device), device)
    config = SearchConfig(**settings)
    root = world.root(states)
    said = (search(m, root, config=config, **arguments) for m in (ours, TableModel(world)))
    return next(said), next(said)


def assert_same(ours: SearchResult, expected: SearchResult, *, exact: bool) -> None:
    """Every field, bit for bit; or but for the last digits of `policy` and `root_value`."""
    for name in FIELDS:
        found, wanted = getattr(ours, name), getattr(expected, name)
        if exact or found.dtype.kind == "i":
            assert found.tobytes() == wanted.tobytes(), name
        else:
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6, err_msg=name)
