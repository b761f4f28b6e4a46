"""The network on a GPU, in the place of `InferenceModel`: whole searches without the host.

Axes: B roots, L frame_stack, F latent_size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rllib_ez.core.config import ModelConfig
from rllib_ez.core.gpu.folded import FoldedNetwork
from rllib_ez.core.gpu.search import DeviceSearch
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.search.estimates import RootEstimate
from rllib_ez.core.search.plan import Conclusion, Plan
from rllib_ez.core.search.tree import Rules, Tree
from rllib_ez.core.types import Array


class GpuModel:
    """Says what `InferenceModel` says and runs whole searches as replayed CUDA graphs.

    A search equals the CPU's but for the network's rounding: to about 1e-4 in f32, 1e-2 in bf16.

    Args:
        network: holds the weights; is put into evaluation mode on the device, `load` writes to it.
        device: a CUDA device; "cpu" in numba's simulator only.
        dtype: torch.float32, or torch.bfloat16 for network "pixel".
        compiled: let torch.compile fuse the small operations of a step: slow to start.
        captured: replay CUDA graphs; else every kernel is started by the host, one by one.
    """

    def __init__(
        self,
        network: EfficientZeroModel,
        *,
        device: str | torch.device = "cuda",
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
        captured: bool = True,
    ) -> None:
        self.device = torch.device(device)
        self.reference = InferenceModel(network, device=self.device)
        self.network = network
        self.memory_size = self.reference.memory_size
        self.folded = FoldedNetwork(network, device=self.device, dtype=dtype, compiled=compiled)
        self.searches = DeviceSearch(self.folded, self.device, captured=captured)

    @classmethod
    def blank(
        cls, config: ModelConfig, *, device: str | torch.device = "cuda", **options: Any
    ) -> GpuModel:
        """A model that waits for `load`; making it does not move torch's global RNG."""
        return cls(InferenceModel.blank(config).network, device=device, **options)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes over weights, by value; the SimSiam parts may be missing.

        Raises:
            RuntimeError: a name or a shape does not fit the network.
        """
        self.reference.load(weights)
        self.refresh()

    def refresh(self) -> None:
        """Takes over what the network's weights are now; captured searches see them too."""
        self.folded.refresh()

    @torch.no_grad()
    def root(self, observation: Array) -> RootEstimate:
        """Looks at real observations [B, L, *frame]; the latents [B, F] stay on the device."""
        latent, prior, value = self.folded.root(torch.as_tensor(observation))
        return RootEstimate(latent, prior.cpu().numpy(), value.cpu().numpy())

    def run(
        self, latent: Tensor, tree: Tree, rules: Rules, plan: Plan, *, keep_tree: bool = False
    ) -> Conclusion:
        """Grows trees from root latents [B, F] and concludes: see `DeviceSearch.run`."""
        return self.searches.run(latent, tree, rules, plan, keep_tree=keep_tree)
