"""Prints docs/settings.md: every setting with default and meaning, read off the dataclasses.

python .ci/settings_table.py > docs/settings.md
"""

from __future__ import annotations

import inspect
import re
from dataclasses import fields

from rllib_ez.algorithm.config import INFERRED, INFERRED_UNLESS_SET, RLLIB_SETTINGS, STAGES
from serve.batcher import BatcherConfig
from serve.settings import ServiceSettings

HEAD = """# Settings

All of them, as `ez train --set NAME=VALUE`, presets, Ray Tune and
`EfficientZeroConfig().training(NAME=VALUE)` take them. Written by `python .ci/settings_table.py`;
a test holds it and the code together.
"""


def main() -> None:
    """Prints the page."""
    print(page(), end="")


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    seen: set[str] = set()
    for stage in STAGES:
        parts += section(stage, seen)
    parts += ["", "## RLlib's own that count here", "", "| setting | default |", "|---|---|"]
    parts += [f"| `{name}` | `{value}` |" for name, value in RLLIB_SETTINGS.items()]
    parts += ["", "# Of the service", "", "`ez serve --set NAME=VALUE`, `args` of a Serve config."]
    for stage in (ServiceSettings, BatcherConfig):
        parts += section(stage, {"batcher"})
    return "\n".join(parts) + "\n"


def section(stage: type, seen: set[str]) -> list[str]:
    """One dataclass as a table; names it shares with an earlier one are left out."""
    comments = field_comments(stage)
    parts = ["", f"## {stage.__name__}", "", (stage.__doc__ or "").strip(), ""]
    parts += ["| setting | default | meaning |", "|---|---|---|"]
    for field in fields(stage):
        if field.name in INFERRED | seen:
            continue
        seen.add(field.name)
        default = "from the spaces" if field.name in INFERRED_UNLESS_SET else f"`{field.default}`"
        meaning = comments[field.name].replace("|", "\\|")
        parts.append(f"| `{field.name}` | {default} | {meaning} |")
    return parts


def field_comments(stage: type) -> dict[str, str]:
    """The comment behind each field."""
    pattern = re.compile(r"^    (\w+): .*?  # (.*)$", re.MULTILINE)
    return dict(pattern.findall(inspect.getsource(stage)))


if __name__ == "__main__":
    main()
