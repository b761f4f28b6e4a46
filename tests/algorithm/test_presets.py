from __future__ import annotations

from pathlib import Path

import pytest

from rllib_ez.algorithm.config import known_settings
from rllib_ez.algorithm.presets import (
    list_presets,
    load_preset,
    preset_for_env,
    preset_names,
    stacked,
)
from rllib_ez.errors import SettingError


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_reads_and_describes_itself(name: str):
    assert len(load_preset(name).description) > 20


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_changes_something(name: str):
    defaults = known_settings()
    changed = [k for k, v in load_preset(name).settings.items() if v != defaults[k]]
    assert changed


def test_recipes_are_listed_before_overlays():
    overlays = [preset.is_overlay for preset in list_presets()]
    assert overlays == sorted(overlays)


def test_the_nearest_preset_is_named():
    with pytest.raises(SettingError, match="got 'cartpool'; nearest: 'cartpole'"):
        load_preset("cartpool")


def test_an_environment_finds_its_recipe():
    preset = preset_for_env("CartPole-v1")
    assert preset is not None
    assert preset.name == "cartpole"


def test_an_environment_without_a_recipe_has_none():
    assert preset_for_env("MountainCar-v0") is None


def test_the_papers_discount_is_per_env_step_of_four_frames():
    assert load_preset("atari100k").settings["discount"] == pytest.approx(0.997**4, abs=1e-12)


def test_muzero_is_all_three_ablations_at_once():
    parts = ("no_consistency", "no_value_prefix", "no_off_policy_correction")
    together = {k: v for part in parts for k, v in load_preset(part).settings.items()}
    assert load_preset("muzero").settings == together


def test_without_reanalyse_and_with_infonce_one_setting_is_changed():
    assert load_preset("no_reanalyse").settings == {"reanalyse_fraction": 0.0}
    assert load_preset("infonce").settings == {"consistency_loss": "infonce"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Presets of our own, in place of the package's."""
    monkeypatch.setattr("rllib_ez.algorithm.presets.FOLDER", tmp_path)
    write(tmp_path, "below", "env: CartPole-v1", "env_steps: 70", "td_steps: 3", "batch_size: 9")
    write(tmp_path, "middle", "base: below", "batch_size: 8", "evaluate_every: 7")
    write(tmp_path, "over", "td_steps: 2")
    return tmp_path


def write(folder: Path, name: str, *lines: str) -> None:
    (folder / f"{name}.yaml").write_text("\n".join([f"description: {name}", *lines]))


@pytest.mark.usefixtures("folder")
def test_a_recipe_with_a_base_holds_only_what_it_changes():
    preset = load_preset("middle")
    assert preset.settings == {"td_steps": 3, "batch_size": 8}
    assert (preset.base, preset.description, preset.is_overlay) == ("below", "middle", False)
    assert (preset.env, preset.env_steps, preset.evaluate_every) == ("CartPole-v1", 70, 7)


def test_a_base_may_have_a_base(folder: Path):
    write(folder, "top", "base: middle", "td_steps: 4", "env_steps: 5")
    preset = load_preset("top")
    assert preset.settings == {"td_steps": 4, "batch_size": 8}
    assert (preset.env_steps, preset.evaluate_every) == (5, 7)


def test_an_environment_finds_the_recipe_that_has_no_base(folder: Path):
    write(folder, "another", "base: below")
    assert preset_for_env("CartPole-v1").name == "below"


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ("none", "base of 'wrong' must be one of .*below.*, got 'none'"),
        ("over", "base of 'wrong' must be a recipe, got 'over', an overlay"),
        ("wrong", "base must not lead back to its own preset, got wrong -> wrong"),
        ("back", "base must not lead back to its own preset, got wrong -> back -> wrong"),
    ],
)
def test_a_wrong_base_is_refused(folder: Path, base: str, text: str):
    write(folder, "wrong", f"base: {base}")
    write(folder, "back", "base: wrong")
    with pytest.raises(SettingError, match=text):
        load_preset("wrong")


def test_a_preset_and_its_base_are_checked_together(folder: Path):
    write(folder, "below", "env_steps: 70", "from_episodes: somewhere")
    write(folder, "middle", "base: below", "num_offline_updates: 5")
    assert load_preset("middle").settings["num_offline_updates"] == 5


@pytest.mark.usefixtures("folder")
def test_a_stack_is_read_from_left_to_right_on_the_defaults():
    together = stacked(["middle", "over"])
    assert (together["env_steps"], together["batch_size"], together["td_steps"]) == (70, 8, 2)
    assert stacked(["over", "middle"])["td_steps"] == 3
    assert together["num_simulations"] == known_settings()["num_simulations"]
