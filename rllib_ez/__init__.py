"""EfficientZero as a Ray RLlib algorithm.

Names are handed out lazily (PEP 562), so that `import rllib_ez.core` loads no Ray. After
`import rllib_ez`, `ray.tune.Tuner("EfficientZero", ...)` finds the algorithm by its name.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rllib_ez._register import announce_to_rllib

if TYPE_CHECKING:
    from rllib_ez.agent import Agent
    from rllib_ez.algorithm.algorithm import EfficientZero
    from rllib_ez.algorithm.config import EfficientZeroConfig

__version__ = "0.1.0.dev0"
__all__ = ["Agent", "EfficientZero", "EfficientZeroConfig", "__version__"]

_HOME = {
    "Agent": "rllib_ez.agent",
    "EfficientZero": "rllib_ez.algorithm.algorithm",
    "EfficientZeroConfig": "rllib_ez.algorithm.config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rllib_ez' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


announce_to_rllib()
