"""One thread: the networks here are tiny, and other processes share the machine."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
