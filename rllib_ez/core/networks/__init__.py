"""The networks: blocks, a trunk for vectors, a trunk for pixels, the whole model."""

from rllib_ez.core.networks.model import EfficientZeroModel

__all__ = ["EfficientZeroModel"]
