"""docs/settings.md tells what the dataclasses say."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_settings_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("page", ROOT / ".ci" / "settings_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "settings.md").read_text() == module.page(), (
        "run: python .ci/settings_table.py > docs/settings.md"
    )
