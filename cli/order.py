"""What is to be trained, from the options of a command: a new run, or one to go on with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli.episodes import FOLDER as EPISODES
from cli.episodes import archive_of
from rllib_ez.algorithm.setting_types import checked_settings
from rllib_ez.core.agent_card import read_card
from rllib_ez.errors import SettingError
from rllib_ez.runs.folder import absolute, checkpoint_to_resume, new_run_folder, set_newer_aside
from rllib_ez.runs.plan import Plan, make_plan, parse_assignments

MANY_UPDATES = 1000  # at once: minutes, for a network of pixels on a CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done, settled before Ray starts."""

    plan: Plan
    folder: Path
    address: str | None = None  # of a Ray cluster; None: this machine alone
    resume_from: Path | None = None
    notes: tuple[str, ...] = ()


def begun(
    choice: dict[str, Any],
    assignments: list[str],
    options: dict[str, Any],
    out: Path | None,
    *,
    address: str | None = None,
) -> Order:
    """The order for a new run; makes its folder.

    Args:
        choice: env, game and preset.
        assignments: "name=value" each.
        options: fields of `Plan` and settings; None: not given.
        out: the folder; None: a new one under runs/.
        address: see `Order`.

    Raises:
        SettingError, EnvironmentSpecError: see `make_plan`.
        ArchiveError: the episodes to learn from are not there, or of another environment.
    """
    plan, notes = make_plan(
        **choice,
        assignments=assignments,
        options=options,
        defaults={"episode_archive": EPISODES},
    )
    archive = plan.settings["from_episodes"]
    if archive is not None:
        found = {"from_episodes": absolute(archive_of(archive))}
        plan = replace(plan, settings=plan.settings | found)
        notes.append(check_episodes(plan))
    notes += told_of_a_long_start(plan)
    return Order(plan=plan, folder=new_run_folder(out, plan), address=address, notes=tuple(notes))


def told_of_a_long_start(plan: Plan) -> list[str]:
    """That nothing will be seen for a while, where random steps earn many updates."""
    steps = plan.settings["num_random_steps"]
    updates = int(steps * plan.settings["replay_ratio"])
    if updates < MANY_UPDATES or plan.settings["num_offline_updates"]:
        return []
    return [
        f"the first {steps:,} env steps are random; the {updates:,} updates that they earn come at "
        "once, before the first line of progress"
    ]


def repeated(
    trial: Path,
    assignments: list[str],
    options: dict[str, Any],
    out: Path | None,
    *,
    address: str | None = None,
) -> Order:
    """The order for a run that does what a trial of a sweep did; makes its folder.

    Args:
        trial: its folder.
        assignments: "name=value" each, to do otherwise.
        options: the same, as in `begun`.
        out: see `begun`.
        address: see `Order`.

    Raises:
        CheckpointError: there is no such trial.
        SettingError: a name or a value is wrong.
    """
    from tuning.repeating import plan_of_trial

    plan = plan_of_trial(trial)
    changed = {name: value for name, value in options.items() if value is not None}
    changed = {"episode_archive": EPISODES} | parse_assignments(assignments) | changed
    settings = {name: changed.pop(name) for name in list(changed) if name in plan.settings}
    plan = replace(plan, settings=checked_settings(plan.settings | settings), **changed)
    notes = (f"as {trial} of a sweep was trained",)
    return Order(plan=plan, folder=new_run_folder(out, plan), address=address, notes=notes)


def resumed(
    path: Path, refused: dict[str, Any], mutable: dict[str, Any], *, address: str | None = None
) -> Order:
    """The order to go on with a run.

    Raises:
        SettingError: something was given that a run cannot change on its way.
        CheckpointError: there is nothing to go on from.
    """
    given = options_of(refused)
    if given:
        raise SettingError(f"a resumed run keeps its settings, got {', '.join(given)}")
    folder, checkpoint = checkpoint_to_resume(path)
    plan = Plan.read(folder)
    changes = {name: value for name, value in mutable.items() if value is not None}
    if "num_offline_updates" in changes and plan.env_steps:
        raise SettingError(
            f"updates must stay as they are in a run with env steps, "
            f"got {changes['num_offline_updates']}: give --env-steps"
        )
    card = read_card(checkpoint)
    made = plan.final_updates_made(env_steps=card.num_env_steps, updates=card.num_updates)
    if made and changes.get("env_steps", 0) > card.num_env_steps:
        raise SettingError(
            f"env_steps must stay as they are once final updates are made ({made:,} are), "
            f"got {changes['env_steps']}; go on from a checkpoint before them, or train anew"
        )
    settings = {name: changes.pop(name) for name in list(changes) if name in plan.settings}
    plan = replace(plan, settings=checked_settings(plan.settings | settings), **changes)
    notes = [f"going on from {checkpoint}"]
    notes += [f"a newer checkpoint is now {p}" for p in set_newer_aside(folder, checkpoint)]
    plan.write(folder)
    return Order(
        plan=plan, folder=folder, address=address, resume_from=checkpoint, notes=tuple(notes)
    )


def check_episodes(plan: Plan) -> str:
    """Says what the archive to learn from holds.

    Raises:
        ArchiveError: nothing that can be read, or episodes of another environment.
    """
    from rllib_ez.algorithm.actors import archive_spec
    from rllib_ez.core.replay.archive import read_contents

    config, uri = plan.config(), plan.settings["from_episodes"]
    contents = read_contents(uri, spec=archive_spec(config, config.env_spec()))
    steps = sum(episode.num_steps for episode in contents.episodes)
    return (
        f"replay begins with up to {steps:,} steps of {len(contents.episodes):,} episodes in {uri}"
    )


def check_alone(name: str, others: dict[str, Any]) -> None:
    """Raises SettingError if any of the others was given together with an option."""
    given = options_of(others)
    if given:
        raise SettingError(f"--{name} says what to train, got {', '.join(given)} as well")


def options_of(values: dict[str, Any]) -> list[str]:
    """The options that were given, as they are typed."""
    return [f"--{name.replace('_', '-')}" for name, value in values.items() if is_given(value)]


def is_given(value: Any) -> bool:
    """Whether an option was typed; 0 is, a flag that is off is not."""
    return value is not None and value is not False and value != []
