"""Copies the tables of benchmarks/results into README.md, between their markers.

python .ci/fill_readme.py
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def filled(readme: str) -> str:
    """README with every table as its file has it."""

    def table(match: re.Match[str]) -> str:
        text = (ROOT / "benchmarks" / "results" / match[2] / "table.md").read_text()
        return f"{match[1]}{text}{match[3]}"

    return MARKER.sub(table, readme)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text()))
