"""Prints the exact version of every package in this environment, as constraints for pip.

A package whose version here needs a newer Python than 3.10 is left free on 3.10.
"""

from __future__ import annotations

from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet
from packaging.version import Version

NOT_OURS = {"pip", "setuptools", "wheel", "rllib-ez"}


def main() -> None:
    """Prints one line a package, sorted by name."""
    lines = set()
    for found in distributions():
        name = found.metadata["Name"]
        if name in NOT_OURS:
            continue
        # "+cpu" names one build of a version; another machine may have another.
        line = f"{name}=={Version(found.version).public}"
        runs_on = SpecifierSet(found.metadata["Requires-Python"] or "")
        lines.add(line if "3.10" in runs_on else f'{line} ; python_version >= "3.11"')
    print("# Written by `make constraints`. Exact versions, so that set-up is repeatable.")
    print("\n".join(sorted(lines, key=str.lower)))


if __name__ == "__main__":
    main()
