"""What a sweep is to do: games, seeds, settings. Kept as sweep.yaml in its folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import yaml

from rllib_ez.errors import CheckpointError, SettingError
from rllib_ez.runs.plan import Plan, make_plan, plain
from tuning.reading import CUSTOM, FORMAT, SWEEP
from tuning.spaces import Space, as_entries, parse_space, samples
from tuning.specs import TrialSpec
from tuning.suites import Game, load_suite

FILE = SWEEP
CAN_GROW = {"suite", "games", "seeds", "num_samples", "plans"}  # when a sweep goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A sweep, wholly determined but for where it runs."""

    suite: str  # its name, a file's path, or CUSTOM for games of several
    games: tuple[str, ...]
    seeds: tuple[int, ...]
    presets: tuple[str, ...]
    assignments: tuple[str, ...]
    env_steps: int | None  # None: the preset's
    evaluation_episodes: int | None = None  # the same
    search: Mapping[str, Any] | None = None  # a `Space` as a mapping
    num_samples: int | None = None
    plans: Mapping[str, Plan]  # by game, without seed and settings of a search

    @property
    def space(self) -> Space | None:
        """What is searched."""
        return None if self.search is None else parse_space(self.search, name="the sweep's")

    @property
    def combinations(self) -> list[tuple[str, int]]:
        """Game and seed, all games with one seed before the next."""
        return [(game, seed) for seed in self.seeds for game in self.games]

    def specs(self) -> list[TrialSpec]:
        """Every trial, where no searcher chooses as it goes.

        Raises:
            SettingError: see `samples`.
        """
        space = self.space
        return self.specs_of([{}] if space is None else samples(space, self.num_samples, seed=0))

    def specs_of(self, choices: Iterable[Mapping[str, Any]]) -> list[TrialSpec]:
        """The trials of these settings, one choice after the other."""
        return [
            TrialSpec(game=game, seed=seed, settings=settings)
            for settings in choices
            for game, seed in self.combinations
        ]

    def as_yaml(self) -> str:
        """As `read` takes it."""
        values = asdict(self) | {
            "plans": {
                game: {**asdict(plan), "settings": plain(plan.settings)}
                for game, plan in self.plans.items()
            }
        }
        values = {"format": FORMAT} | {k: listed(v) for k, v in values.items()}
        return yaml.safe_dump(values, sort_keys=False)

    @classmethod
    def read(cls, text: str) -> Order:
        """Reads `as_yaml`'s text.

        Raises:
            CheckpointError: it is not ours, or of another version.
        """
        try:
            values = yaml.safe_load(text)
            if (found := values.pop("format")) != FORMAT:
                raise ValueError(f"format {found!r}, where this version reads {FORMAT}")
            plans = {game: Plan.of(entry) for game, entry in values.pop("plans").items()}
            lists = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
            return cls(**values | lists, plans=plans)
        except (yaml.YAMLError, TypeError, AttributeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"a sweep's folder must hold a readable {FILE}, got {error}"
            ) from error


def make_order(
    suite_key: str,
    games: Sequence[Game],
    *,
    seeds: Sequence[int],
    presets: Sequence[str] = (),
    assignments: Sequence[str] = (),
    options: Mapping[str, int | None],
    space: Space | None = None,
    num_samples: int | None = None,
) -> tuple[Order, list[str]]:
    """Settles everything.

    Args:
        suite_key: where the games are from: see `Order`.
        games: at least one.
        seeds: the same for every game.
        presets: see `make_plan`.
        assignments: "name=value" each.
        options: env_steps, evaluation_duration, evaluate_every, checkpoint_every; None: not given.
        space: what is searched, if anything.
        num_samples: settings drawn from it.

    Returns:
        The order, and lines for people on how it came about.

    Raises:
        SettingError, EnvironmentSpecError: see `make_plan`.
    """
    plans, notes = {}, []
    for game in games:
        plan, said = make_plan(
            env=game.env, game=None, preset=presets, assignments=assignments, options=dict(options)
        )
        plans[game.name] = plan
        notes += said
    if space is not None:
        check_disjoint(space, assignments)
        check_num_samples(space, num_samples)
    order = Order(
        suite=suite_key,
        games=tuple(game.name for game in games),
        seeds=tuple(seeds),
        presets=tuple(presets),
        assignments=tuple(assignments),
        env_steps=options.get("env_steps"),
        evaluation_episodes=options.get("evaluation_duration"),
        search=None if space is None else as_entries(space),
        num_samples=num_samples,
        plans=plans,
    )
    return order, summed_up(notes)


def grown(before: Order, now: Order) -> Order:
    """What a folder's sweep becomes when it is called for again: games, seeds, samples add up.

    Raises:
        SettingError: something else differs; the folder's sweep would not be one any more.
    """
    old, new = asdict(before), asdict(now)
    for name in old.keys() - CAN_GROW:
        if old[name] != new[name]:
            raise SettingError(
                f"{name} must be as in the sweep that the folder holds, {listed(old[name])!r}, "
                f"got {listed(new[name])!r}; take another --out, or the same command line"
            )
    for game in before.plans.keys() & now.plans.keys():
        check_same(game, before.plans[game], now.plans[game])
    return replace(
        before,
        suite=common_suite(before, now),
        games=tuple(dict.fromkeys(before.games + now.games)),
        seeds=tuple(dict.fromkeys(before.seeds + now.seeds)),
        num_samples=max(before.num_samples or 0, now.num_samples or 0) or None,
        plans={**now.plans, **before.plans},
    )


def common_suite(before: Order, now: Order) -> str:
    """The suite of either that knows the games of both; else CUSTOM."""
    wanted = set(before.games + now.games)
    for name in dict.fromkeys((before.suite, now.suite)):
        if name != CUSTOM and wanted <= {game.name for game in load_suite(name).games}:
            return name
    return CUSTOM


def check_same(game: str, before: Plan, now: Plan) -> None:
    """Raises SettingError if the two would train differently; threads may differ."""
    changed = asdict(now)
    for name, value in asdict(before).items():
        other = changed[name]
        if name != "threads" and plain_value(value) != plain_value(other):
            first = next(differences(value, other), "")
            raise SettingError(
                f"{name} of {game} must be as in the sweep that the folder holds{first}; take "
                "another --out, or the presets and settings of that sweep"
            )


def differences(before: Any, now: Any) -> Iterator[str]:
    """What to say of settings that differ."""
    if not isinstance(before, dict):
        yield f", {before!r}, got {now!r}"
        return
    for name in before.keys() | now.keys():
        if plain_value(before.get(name)) != plain_value(now.get(name)):
            yield f", {name}={before.get(name)!r}, got {now.get(name)!r}"


def check_disjoint(space: Space, assignments: Sequence[str]) -> None:
    """Raises SettingError if a setting is both searched and set."""
    names = {assignment.partition("=")[0].strip() for assignment in assignments}
    both = sorted(names & space.dimensions.keys())
    if both:
        raise SettingError(f"a setting must be searched or set, got both for {', '.join(both)}")


def check_num_samples(space: Space, num_samples: int | None) -> None:
    """Raises SettingError where a searcher is not told how often to choose; see `samples` too."""
    if space.method == "optuna" and (num_samples is None or num_samples < 1):
        raise SettingError(f"num_samples must be >= 1 for a search by optuna, got {num_samples}")


def summed_up(notes: Sequence[str]) -> list[str]:
    """Each note once: of those that games have alike the first, with how many more there are."""
    alike: dict[str, list[str]] = {}
    for note in notes:
        alike.setdefault(note.split(" is trained with ")[-1], []).append(note)
    return [
        found[0] if len(found) == 1 else f"{found[0]}; so are {len(found) - 1} other games"
        for found in alike.values()
    ]


def plain_value(value: Any) -> Any:
    """As YAML hands it back."""
    return plain(value) if isinstance(value, dict) else value


def listed(value: Any) -> Any:
    """Tuples as lists."""
    return list(value) if isinstance(value, tuple) else value
