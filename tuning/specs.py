"""One trial of a sweep: which game, which seed, and which settings a search chose for it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_ez.runs.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """What makes a trial this one and no other, over all attempts at it."""

    game: str  # as the suite names it: "Pong", "CartPole-v1"
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)  # chosen by a search; else empty

    @property
    def sample(self) -> str:
        """Names the settings that a search chose, eight hexadecimal digits; "" without any."""
        if not self.settings:
            return ""
        text = json.dumps(dict(self.settings), sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """For people, folders and comparisons: "Pong-seed-0", "Pong-seed-0-1f2e3d4c"."""
        game = re.sub(r"[^A-Za-z0-9.]+", "-", self.game)
        return f"{game}-seed-{self.seed}" + (f"-{self.sample}" if self.settings else "")

    def plan(self, plans: Mapping[str, Plan]) -> Plan:
        """What it trains.

        Args:
            plans: of the sweep, by game.
        """
        from rllib_ez.algorithm.setting_types import checked_settings  # a report loads no Ray

        plan = plans[self.game]
        settings = {**plan.settings, **self.settings, "seed": self.seed}
        return replace(plan, settings=checked_settings(settings))

    def as_config(self) -> dict[str, Any]:
        """As Tune carries it."""
        return {"game": self.game, "seed": self.seed, "settings": dict(self.settings)}
