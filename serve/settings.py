"""How a service is set: plain values, so that Ray Serve's YAML can hold them as `args`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from rllib_ez.core.config import ENGINES
from rllib_ez.errors import SettingError
from serve.batcher import BatcherConfig

KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "None": (type(None),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """One service; the models themselves are named in `user_config` and by admins."""

    device: str = "cpu"  # "cpu" or "cuda"
    engine: str = "auto"  # as `Agent.load` takes it
    threads: int = 0  # of a search on the CPU; 0: all cores but one, at least one
    simulations: int | None = None  # of a search where a request names none; None: as evaluated
    max_simulations: int = 400  # that a request may ask for
    max_body_bytes: int = 16 * 2**20  # of one request
    max_sessions: int = 1024  # frame stacks kept for clients
    session_idle_seconds: float = 300.0  # then a session is forgotten
    deadline_seconds: float = 30.0  # where a request names none; the longest it may name as well
    token_file: str | None = None  # lines "client TOKEN" and "admin TOKEN"; None: no tokens
    drain_seconds: float = 15.0  # for what waits when the service goes down
    access_log: bool = True  # a line of JSON per request
    log_folder: str | None = None  # of each replica's log; None: standard error
    batcher: BatcherConfig = field(default_factory=BatcherConfig)

    def __post_init__(self) -> None:
        for name in ("max_simulations", "max_body_bytes", "max_sessions"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("session_idle_seconds", "deadline_seconds"):
            if getattr(self, name) <= 0:
                raise SettingError(f"{name} must be > 0 seconds, got {getattr(self, name)}")
        if self.simulations is not None and self.simulations < 1:
            raise SettingError(f"simulations must be >= 1, got {self.simulations}")
        for name in ("threads", "drain_seconds"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name} must be >= 0, got {getattr(self, name)}")
        if self.device.partition(":")[0] not in ("cpu", "cuda"):
            raise SettingError(f"device must be 'cpu' or 'cuda', got {self.device!r}")
        if self.engine not in ENGINES:
            raise SettingError(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}")

    @classmethod
    def of(cls, given: dict[str, Any]) -> ServiceSettings:
        """From flat names and values; those of `BatcherConfig` among them.

        Raises:
            SettingError: an unknown name, or a value of another type or out of range.
        """
        batching = {f.name: f for f in fields(BatcherConfig)}
        own = {f.name: f for f in fields(cls) if f.name != "batcher"}
        unknown = sorted(given.keys() - batching.keys() - own.keys())
        if unknown:
            raise SettingError(
                f"settings of the service must be among {sorted({*own, *batching})}, got {unknown}"
            )
        for name, value in given.items():
            check_type(name, value, str((own.get(name) or batching[name]).type))
        batcher = BatcherConfig(**{k: v for k, v in given.items() if k in batching})
        return cls(**{k: v for k, v in given.items() if k in own}, batcher=batcher)


def check_type(name: str, value: Any, declared: str) -> None:
    """Raises SettingError where YAML, or whoever wrote it, meant something else.

    Args:
        name: of the setting.
        value: a plain one.
        declared: its field's type, as "int | None".
    """
    names = declared.split(" | ")
    kinds = tuple(kind for one in names for kind in KINDS[one])
    fits = isinstance(value, kinds) and ("bool" in names or not isinstance(value, bool))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise SettingError(f"{name} must be {declared}, got {value!r}")
