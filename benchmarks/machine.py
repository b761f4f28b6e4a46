"""What a result was measured on."""

from __future__ import annotations

import os
from typing import Any

from rllib_ez.runs import provenance


def describe_machine() -> dict[str, Any]:
    """What a run records of its machine, with load and more versions, for the results."""
    import numba
    import numpy

    machine = provenance.describe_machine()
    return {
        **machine,
        "load_average": os.getloadavg(),
        "numba": numba.__version__,
        "numpy": numpy.__version__,
        "commit": machine["commit"] or "unknown",
    }
