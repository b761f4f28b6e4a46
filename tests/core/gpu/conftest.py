"""Without a GPU the kernels of these tests run in numba's simulator, on CPU tensors."""

from __future__ import annotations

import os
import sys

import pytest
import torch

ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    # numba.cuda chooses when it is imported; nothing but the code under test imports it.
    assert "numba.cuda" not in sys.modules
    import numba

    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
    numba.config.reload_config()
    import numba.cuda

    del os.environ["NUMBA_ENABLE_CUDASIM"]  # the processes that other tests start need none


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if ON_GPU else "cpu")
