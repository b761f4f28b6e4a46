"""From what was typed to what will be trained: presets, overlays, single settings, defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from cli.threads import default_threads
from rllib_ez.algorithm.config import EfficientZeroConfig, known_settings
from rllib_ez.algorithm.presets import Preset, load_preset, preset_for_env, preset_names
from rllib_ez.algorithm.setting_types import checked_settings
from rllib_ez.envs import describe
from rllib_ez.envs.atari import is_game, rom_name
from rllib_ez.errors import CheckpointError, EnvironmentSpecError, SettingError

DEFAULT_ENV_STEPS = 20_000
PARTS = 10  # a run is evaluated and saved about so many times
LEAST_CHECKPOINT_EVERY = 1000  # env steps; unless asked for
FILE = "config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run, wholly determined. Kept as `config.yaml` in the run's folder."""

    env: str
    env_config: dict[str, Any]
    env_steps: int
    evaluate_every: int  # env steps; 0: only at the end
    checkpoint_every: int  # env steps; 0: only at the end
    threads: int  # of torch; 0: as many as it likes
    presets: list[str]
    settings: dict[str, Any]  # all of `known_settings()`

    def __post_init__(self) -> None:
        for name, least in (
            ("env_steps", 1), ("evaluate_every", 0), ("checkpoint_every", 0), ("threads", 0)
        ):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise SettingError(f"{name} must be a whole number >= {least}, got {value!r}")

    def config(self) -> EfficientZeroConfig:
        """The same for RLlib, checked as far as can be without building anything."""
        config = EfficientZeroConfig().environment(self.env, env_config=self.env_config)
        config.training(**self.settings)
        config.model_config_for(config.env_spec())
        return config

    def write(self, folder: Path) -> None:
        """Keeps the plan in the run's folder."""
        values = {**asdict(self), "settings": plain(self.settings)}
        (folder / FILE).write_text(yaml.safe_dump(values, sort_keys=False))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Reads `write`'s file.

        Raises:
            CheckpointError: there is none, or it is not ours.
        """
        try:
            values = yaml.safe_load((folder / FILE).read_text())
            settings = checked_settings(values.pop("settings"))
            unknown = values.keys() - {field.name for field in fields(cls)}
            if unknown:
                raise ValueError(f"unknown entries {sorted(unknown)}")
            return cls(**values, settings=settings)
        except (OSError, yaml.YAMLError, TypeError, AttributeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"a run's folder must hold a readable {FILE}, got {error} in {str(folder)!r}"
            ) from error


def make_plan(
    *,
    env: str | None,
    game: str | None,
    preset: Sequence[str],
    assignments: Sequence[str],
    options: dict[str, Any],
) -> tuple[Plan, list[str]]:
    """Settles everything.

    Args:
        env: a preset's name, a game's or an id of gymnasium.
        game: a game's name.
        preset: names of recipes and overlays, applied in order.
        assignments: "name=value" each, applied last.
        options: fields of `Plan` and settings that have an option of their own; None: not given.

    Returns:
        The plan, and lines for people on how it came about.

    Raises:
        SettingError: a name or a value is wrong.
        EnvironmentSpecError: the environment is unknown or not for us.
    """
    chosen = [load_preset(name) for name in preset]
    env, base, notes = choose_env(env, game, has_recipe=any(not p.is_overlay for p in chosen))
    presets = ([base] if base else []) + chosen
    about: dict[str, Any] = {"env_steps": DEFAULT_ENV_STEPS, "env_config": {}}
    settings = known_settings()
    for one in presets:
        settings |= one.settings
        if one.env_steps is not None:
            about |= {"env_steps": one.env_steps, "env_config": one.env_config}
            about["evaluate_every"] = one.evaluate_every or 0
    settings |= parse_assignments(assignments)
    given = {name: value for name, value in options.items() if value is not None}
    settings |= checked_settings({k: v for k, v in given.items() if k in settings})
    about |= {name: value for name, value in given.items() if name not in settings}
    part = max(1, about["env_steps"] // PARTS) if isinstance(about["env_steps"], int) else 0
    often = {"evaluate_every": part, "checkpoint_every": max(part, LEAST_CHECKPOINT_EVERY)}
    about = {**often, "threads": 0} | about
    plan = Plan(
        env=env, presets=[p.name for p in presets], settings=checked_settings(settings), **about
    )
    if "threads" not in given:
        plan = with_default_threads(plan)
    if not presets:
        notes.append("no preset: default settings, the rest read off the environment's spaces")
    return plan, notes


def choose_env(
    env: str | None, game: str | None, *, has_recipe: bool
) -> tuple[str, Preset | None, list[str]]:
    """The environment's id, the recipe that goes with it (unless one was named), and why."""
    if (env is None) == (game is None):
        raise SettingError("give one of --env and --game, for example --env cartpole")
    if game is not None:
        return choose_game(rom_name(game), has_recipe=has_recipe)
    assert env is not None
    if env in preset_names():
        recipe = load_preset(env)
        if recipe.env is None:
            raise EnvironmentSpecError(
                f"env must be an environment, got {env!r}, a preset that fits several: "
                f"say --preset {env} and name the environment, for example --env pong"
            )
        return recipe.env, None if has_recipe else recipe, []
    if is_game(env) or describe(env).is_atari:
        return choose_game(env, has_recipe=has_recipe)
    return env, None if has_recipe else preset_for_env(env), []


def choose_game(game: str, *, has_recipe: bool) -> tuple[str, Preset | None, list[str]]:
    """The paper's settings need a GPU; without one a small recipe, said in one line."""
    if has_recipe:
        return game, None, []
    import torch

    if torch.cuda.is_available():
        return game, load_preset("atari100k"), []
    note = (
        f"no GPU here, so {game} is trained with the small preset atari100k_small "
        "(--preset atari100k takes the paper's)"
    )
    return game, load_preset("atari100k_small"), [note]


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Reads "name=value" pairs; values are YAML."""
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise SettingError(f"--set must have the form name=value, got {assignment!r}")
        try:
            found[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingError(f"{name} must be a YAML value, got {text!r}") from error
    return checked_settings(found)


def with_default_threads(plan: Plan) -> Plan:
    """The plan with as many threads as suit its network."""
    config = plan.config()
    network = config.model_config_for(config.env_spec()).network
    return replace(plan, threads=default_threads(network))


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, for YAML."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
