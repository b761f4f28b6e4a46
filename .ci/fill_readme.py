"""Copies the tables of benchmarks/results into README.md, between their markers.

python .ci/fill_readme.py
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARKER = re.compile(
    r"(<!-- table: (\w+)(, first part)? -->\n).*?(<!-- end of table -->)", re.DOTALL
)


def filled(readme: str) -> str:
    """README with every table as its file has it."""

    def table(match: re.Match[str]) -> str:
        text = (ROOT / "benchmarks" / "results" / match[2] / "table.md").read_text()
        if match[3]:  # up to its second heading, and the command at its end
            head, first, rest = re.split(r"(?m)^(?=### )", text, maxsplit=2)
            text = head + first + rest.rstrip().splitlines()[-1] + "\n"
        return f"{match[1]}{text}{match[4]}"

    return MARKER.sub(table, readme)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(filled(path.read_text()))
