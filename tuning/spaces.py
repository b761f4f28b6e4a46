"""What a search may choose from: a readable file, and the settings drawn from it.

method: random  # random, grid or optuna
asha: {grace_env_steps: 2000, reduction_factor: 3}  # left out: every trial runs to its end
learning_rate: {log_uniform: [1.0e-4, 1.0e-2]}
discount: {uniform: [0.97, 0.999], round: 3}  # significant digits; 3 unless told
td_steps: {int: [1, 10]}  # both ends count
temperature_updates: {log_int: [1000, 50000]}
search_method: [puct, gumbel]  # or {choice: [puct, gumbel]}
"""

from __future__ import annotations

import difflib
import itertools
import math
import random
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from rllib_ez.errors import SettingError
from tuning.dimensions import Dimension, is_number, parse_dimension
from tuning.specs import TrialSpec

FOLDER = Path(__file__).parent / "data" / "spaces"
METHODS = ("random", "grid", "optuna")
_TRIES = 100_000  # draws for one sample that is new


@dataclass(frozen=True, slots=True, kw_only=True)
class Asha:
    """When trials that do worse than others are stopped (arXiv:1810.05934)."""

    grace_env_steps: int  # that every trial may play, >= 1
    reduction_factor: float = 3.0  # one in so many goes on; the next look is so many times later

    def __post_init__(self) -> None:
        steps, factor = self.grace_env_steps, self.reduction_factor
        if not is_number(steps) or not isinstance(steps, int) or steps < 1:
            raise SettingError(f"asha.grace_env_steps must be a whole number >= 1, got {steps!r}")
        if not is_number(factor) or factor <= 1:
            raise SettingError(f"asha.reduction_factor must be a number > 1, got {factor!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a search chooses from, and how it goes about it."""

    name: str  # of a named space, or the file's path
    method: str  # of `METHODS`
    asha: Asha | None
    dimensions: Mapping[str, Dimension]  # by the setting's name, in the file's order

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}")
        if not self.dimensions:
            raise SettingError("a search space must name a setting to choose, got none")
        ranges = [one for one in self.dimensions.values() if one.kind != "choice"]
        if self.method == "grid" and ranges:
            raise SettingError(
                f"{ranges[0].setting} must be a list of choices in a grid, got a range "
                f"({ranges[0].kind}); list its values, or say method: random"
            )

    @property
    def size(self) -> float:
        """How many different settings there are at most; infinite with a range of fractions."""
        return math.prod(dimension.size for dimension in self.dimensions.values())

    def typed(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The same settings as this space would draw them: digits, types, order."""
        return {name: one.rounded(settings[name]) for name, one in self.dimensions.items()}


def space_names() -> list[str]:
    """The named spaces, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_space(name_or_path: str) -> Space:
    """Reads a named space or a file of one's own.

    Raises:
        SettingError: there is none, or a line of it is wrong; names file, setting and value.
    """
    names = space_names()
    path = FOLDER / f"{name_or_path}.yaml" if name_or_path in names else Path(name_or_path)
    try:
        entries = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise SettingError(f"search space {name_or_path} must be YAML, got {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        near = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingError(
            f"search space must be one of {', '.join(names)} or a readable YAML file, "
            f"got {name_or_path!r}{hint}"
        ) from error
    return parse_space(entries, name=name_or_path)


def parse_space(entries: Any, *, name: str) -> Space:
    """The space that `entries` describe, which have a file's form.

    Raises:
        SettingError: an entry is wrong.
    """
    try:
        if not isinstance(entries, Mapping):
            raise SettingError(f"it must be lines of the form name: value, got {entries!r}")
        settings = {key: one for key, one in entries.items() if key not in ("method", "asha")}
        dimensions = {str(key): parse_dimension(str(key), one) for key, one in settings.items()}
        method = entries.get("method", "random")
        asha = _asha(entries.get("asha"))
        return Space(name=name, method=method, asha=asha, dimensions=dimensions)
    except SettingError as error:
        raise SettingError(f"search space {name}: {error}") from error


def as_entries(space: Space) -> dict[str, Any]:
    """The opposite of `parse_space`, of plain types."""
    entries: dict[str, Any] = {"method": space.method}
    if space.asha is not None:
        entries["asha"] = asdict(space.asha)
    for setting, one in space.dimensions.items():
        values = [list(value) if isinstance(value, tuple) else value for value in one.values]
        entries[setting] = {one.kind: values}
        if one.kind != "choice":
            entries[setting]["round"] = one.digits
    return entries


def samples(space: Space, num_samples: int | None, *, seed: int) -> list[dict[str, Any]]:
    """The settings to try, none twice.

    Sample i of a random search depends on `seed` and i alone, so that asking for more later
    adds to what there is. A grid is all combinations, the last setting changing fastest.

    Args:
        space: of the method "random" or "grid"; Optuna chooses as results come in.
        num_samples: how many; None for a grid.
        seed: of the draws.

    Raises:
        SettingError: the space holds fewer, or the grid more.
    """
    if space.method == "optuna":
        raise SettingError("method must be random or grid to draw settings ahead, got 'optuna'")
    if space.method == "grid":
        return _grid(space, num_samples)
    if num_samples is None or num_samples < 1:
        raise SettingError(f"num_samples must be >= 1 for a random search, got {num_samples}")
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    for i in range(num_samples):
        sample = new_sample(space, taken, stream=f"{seed}-{i}")
        if sample is None:
            raise SettingError(
                f"num_samples must be at most {i}, the different settings that space "
                f"{space.name} holds, got {num_samples}"
            )
        taken.add(sample_id(sample))
        found.append(sample)
    return found


def new_sample(space: Space, taken: Set[str], *, stream: str) -> dict[str, Any] | None:
    """Settings drawn at random, none of those `taken`; None where no other turns up.

    Args:
        space: what to draw from.
        taken: `sample_id` of what was drawn before.
        stream: names the sequence of random numbers.
    """
    numbers = random.Random(stream)  # the same in every version of Python
    for _ in range(_TRIES if len(taken) < space.size else 0):
        # By name, so that moving a line in the file changes no draw.
        shares = {name: numbers.random() for name in sorted(space.dimensions)}
        drawn = {name: one.at(shares[name]) for name, one in space.dimensions.items()}
        if sample_id(drawn) not in taken:
            return drawn
    return None


def sample_id(settings: Mapping[str, Any]) -> str:
    """What tells these settings from others in the name of a trial."""
    return TrialSpec(game="", seed=0, settings=settings).sample


def _grid(space: Space, num_samples: int | None) -> list[dict[str, Any]]:
    if num_samples is not None and num_samples < space.size:
        raise SettingError(
            f"num_samples must be left out for a grid, or at least {space.size}, the size of "
            f"{space.name}; got {num_samples}; or say method: random"
        )
    columns = (dimension.values for dimension in space.dimensions.values())
    return [dict(zip(space.dimensions, row, strict=True)) for row in itertools.product(*columns)]


def _asha(entry: Any) -> Asha | None:
    known = {"grace_env_steps", "reduction_factor"}
    if entry is None:
        return None
    if not isinstance(entry, Mapping) or "grace_env_steps" not in entry or entry.keys() - known:
        raise SettingError(
            f"asha must be {{grace_env_steps: N, reduction_factor: F}}, got {entry!r}"
        )
    return Asha(**entry)
