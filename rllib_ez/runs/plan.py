"""From what was typed to what will be trained: presets, overlays, single settings, defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from rllib_ez.algorithm.config import (
    EfficientZeroConfig,
    check_setting_names,
    known_settings,
)
from rllib_ez.algorithm.credits import exact, updates_for_steps
from rllib_ez.algorithm.presets import Preset, load_preset, preset_for_env, preset_names
from rllib_ez.algorithm.setting_types import checked_settings
from rllib_ez.envs import describe
from rllib_ez.envs.atari import is_game, rom_name
from rllib_ez.errors import CheckpointError, EnvironmentSpecError, SettingError
from rllib_ez.runs.threads import default_threads

DEFAULT_ENV_STEPS = 20_000
PARTS = 10  # a run is evaluated and saved about so many times
LEAST_CHECKPOINT_EVERY = 1000  # of `Plan.progress`; unless asked for
FILE = "config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run, wholly determined. Kept as `config.yaml` in the run's folder."""

    env: str
    env_config: dict[str, Any]
    env_steps: int  # 0: learns from an archive alone
    evaluate_every: int  # of `progress`; 0: only at the end
    checkpoint_every: int  # of `progress`; 0: only at the end
    keep_checkpoints: int = 2  # the newest
    threads: int  # of torch; 0: as many as it likes
    presets: list[str]
    settings: dict[str, Any]  # all of `known_settings()`

    def __post_init__(self) -> None:
        for name, least in (
            ("env_steps", 0 if self.offline_updates else 1), ("evaluate_every", 0),
            ("checkpoint_every", 0), ("keep_checkpoints", 1), ("threads", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                hint = "; 0 is for --from-episodes with --updates" if name == "env_steps" else ""
                raise SettingError(f"{name} must be a whole number >= {least}, got {value!r}{hint}")

    @property
    def offline_updates(self) -> int:
        """Updates made from an archive before the first env step."""
        return int(self.settings.get("num_offline_updates", 0))

    @property
    def final_updates(self) -> int:
        """Updates made after the last env step, above those that env steps earned."""
        return int(self.settings.get("num_final_updates", 0))

    def progress(self, *, env_steps: int, updates: int) -> int:
        """How far a run is, from 0 to `length`, in `unit`.

        Updates from the archive come first, and so count before env steps do; the final ones
        count after them.
        """
        offline = min(updates, self.offline_updates)
        return env_steps + offline + self.final_updates_made(env_steps=env_steps, updates=updates)

    def final_updates_made(self, *, env_steps: int, updates: int) -> int:
        """How many of a run's updates are beyond what its archive and its env steps earned."""
        if not self.final_updates:
            return 0
        ratio, random = exact(self.settings["replay_ratio"]), self.settings["num_random_steps"]
        earned = updates_for_steps(env_steps, ratio=ratio, num_random_steps=random)
        return max(0, updates - self.offline_updates - earned)

    @property
    def length(self) -> int:
        """The `progress` of a finished run."""
        return self.env_steps + self.offline_updates + self.final_updates

    @property
    def unit(self) -> str:
        """What `progress` counts."""
        parts = {
            "updates": self.offline_updates,
            "env steps": self.env_steps,
            "final updates": self.final_updates,
        }
        return " and ".join(name for name, number in parts.items() if number)

    def config(self, folder: Path | None = None) -> EfficientZeroConfig:
        """The same for RLlib, checked as far as can be without building anything.

        Args:
            folder: of the run: an `episode_archive` without a root lies in it.
        """
        config: EfficientZeroConfig = EfficientZeroConfig()
        config.environment(self.env, env_config=self.env_config)
        config.training(**self.settings)
        archive = config.episode_archive
        if folder is not None and archive is not None and "://" not in archive:
            config.training(episode_archive=str(folder.absolute() / archive))
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
            return cls.of(yaml.safe_load((folder / FILE).read_text()))
        except (OSError, yaml.YAMLError, TypeError, AttributeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"a run's folder must hold a readable {FILE}, got {error} in {str(folder)!r}"
            ) from error

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Plan:
        """The plan from its fields as YAML gives them.

        Raises:
            TypeError, AttributeError, KeyError, ValueError: they are not a plan's.
        """
        about = {name: value for name, value in values.items() if name != "settings"}
        unknown = about.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown entries {sorted(unknown)}")
        return cls(**about, settings=checked_settings(values["settings"]))


def make_plan(
    *,
    env: str | None,
    game: str | None,
    preset: Sequence[str],
    assignments: Sequence[str],
    options: dict[str, Any],
    defaults: dict[str, Any] | None = None,
) -> tuple[Plan, list[str]]:
    """Settles everything.

    Args:
        env: a preset's name, a game's or an id of gymnasium.
        game: a game's name.
        preset: names of recipes and overlays, applied in order.
        assignments: "name=value" each, applied last.
        options: fields of `Plan` and settings that have an option of their own; None: not given.
        defaults: settings that take the place of the config's own defaults.

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
    settings = known_settings() | (defaults or {})
    for one in presets:
        settings |= one.settings
        if one.env_steps is not None:
            about |= {"env_steps": one.env_steps, "env_config": one.env_config}
            about["evaluate_every"] = one.evaluate_every or 0
    given = {name: value for name, value in options.items() if value is not None}
    settings |= parse_assignments(assignments)
    settings |= {name: value for name, value in given.items() if name in settings}
    settings = checked_settings(settings)
    about |= {name: value for name, value in given.items() if name not in settings}
    about = periods(about["env_steps"], settings["num_offline_updates"]) | {"threads": 0} | about
    plan = Plan(env=env, presets=[p.name for p in presets], settings=settings, **about)
    if "threads" not in given:
        plan = with_default_threads(plan)
    if not presets:
        notes.append("no preset: default settings, the rest read off the environment's spaces")
    return plan, notes


def periods(env_steps: Any, offline_updates: int) -> dict[str, Any]:
    """How often a run is evaluated and saved unless told."""
    length = offline_updates + (env_steps if isinstance(env_steps, int) else 0)
    part = max(1, length // PARTS)
    return {"evaluate_every": part, "checkpoint_every": max(part, LEAST_CHECKPOINT_EVERY)}


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
    """Reads "name=value" pairs; values are YAML, checked by nobody yet but for their names."""
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise SettingError(f"--set must have the form name=value, got {assignment!r}")
        try:
            found[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise SettingError(f"{name} must be a YAML value, got {text!r}") from error
    check_setting_names(found)
    return found


def with_default_threads(plan: Plan) -> Plan:
    """The plan with as many threads as suit its network."""
    config = plan.config()
    network = config.model_config_for(config.env_spec()).network
    return replace(plan, threads=default_threads(network))


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Tuples as lists, for YAML."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
