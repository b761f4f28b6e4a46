"""How a service is set: plain values, so that Ray Serve's YAML can hold them as `args`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from rllib_ez.errors import SettingError
from serve.batcher import BatcherConfig


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
        if self.threads < 0:
            raise SettingError(f"threads must be >= 0, got {self.threads}")

    @classmethod
    def of(cls, given: dict[str, Any]) -> ServiceSettings:
        """From flat names and values; those of `BatcherConfig` among them.

        Raises:
            SettingError: an unknown name, or a value out of range.
        """
        batching = {f.name for f in fields(BatcherConfig)}
        own = {f.name for f in fields(cls)} - {"batcher"}
        unknown = sorted(given.keys() - batching - own)
        if unknown:
            raise SettingError(
                f"settings of the service must be among {sorted(own | batching)}, got {unknown}"
            )
        try:
            batcher = BatcherConfig(**{k: v for k, v in given.items() if k in batching})
            return cls(**{k: v for k, v in given.items() if k in own}, batcher=batcher)
        except (TypeError, ValueError) as error:
            raise SettingError(str(error)) from error
