"""What `ez serve` is asked for, checked before anything is started."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rllib_ez.core.agent_card import AgentCard, read_agent
from rllib_ez.core.agent_folder import find_agent
from rllib_ez.errors import SettingError
from serve.haproxy import is_loopback
from serve.naming import check_models, check_name
from serve.settings import ServiceSettings
from serve.tokens import Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOrder:
    """All that was asked for, checked."""

    host: str
    port: int
    models: dict[str, dict[str, Any]]  # name: checkpoint, follow
    cards: dict[str, AgentCard]
    args: dict[str, Any]  # of `serve.deployment.build`, without models
    settings: ServiceSettings  # what these say of the service

    @classmethod
    def of(
        cls,
        *,
        agents: list[str],
        follow: list[str],
        host: str,
        port: int,
        replicas: str,
        gpu: bool,
        is_open: bool,
        settings: Mapping[str, Any],
        extra: list[str],
    ) -> ServeOrder:
        """From the command line.

        Raises:
            SettingError: a value is wrong, a name stands twice, there is no GPU, the port is
                taken, or anybody on the network could call it.
            CheckpointError: there is nothing to serve in one of the places.
        """
        given = {**{k: v for k, v in settings.items() if v is not None}, **read_extra(extra)}
        given["device"] = "cuda" if gpu else given.get("device", "cpu")
        checked = ServiceSettings.of(given)
        check_device(checked.device)
        tokens = Tokens.read(checked.token_file)
        check_host(host, has_tokens=tokens.known is not None or is_open)
        models: dict[str, dict[str, Any]] = {}
        for text, follows in [(a, False) for a in agents] + [(f, True) for f in follow]:
            name, path = named_path(text)
            if name in models:
                raise SettingError(
                    f"each agent must have a name of its own, got {name!r} twice: say PATH=NAME"
                )
            models[name] = {"checkpoint": str(path), "follow": follows}
        if not models:
            raise SettingError("there must be something to serve: ez serve runs/RUN")
        cards = {name: read_agent(entry["checkpoint"])[0] for name, entry in models.items()}
        args = {**given, "num_gpus": 1 if checked.device != "cpu" else 0, **spread(replicas)}
        return cls(
            host=host,
            port=port,
            models=check_models(models),
            cards=cards,
            args=args,
            settings=checked,
        )


def named_path(text: str) -> tuple[str, Path]:
    """PATH or PATH=NAME: the name, and where it is; a run's own name where none is given."""
    whole = Path(text).absolute()
    path, sign, name = text.rpartition("=")
    if whole.exists() or not sign:
        folder = find_agent(whole).parent.absolute()
        run = folder.parent if folder.name.startswith("checkpoint_") else folder
        own = re.sub(r"[^A-Za-z0-9_.-]", "-", run.name).lstrip("_.-")[:64]
        return check_name(own or "agent"), whole
    return check_name(name), Path(path).absolute()


def read_extra(extra: list[str]) -> dict[str, Any]:
    """key=value, the value as YAML has it."""
    entries = {}
    for text in extra:
        key, sign, value = text.partition("=")
        if not sign:
            raise SettingError(f"--set must be key=value, got {text!r}")
        entries[key] = yaml.safe_load(value)
    return entries


def spread(replicas: str) -> dict[str, Any]:
    """The number of replicas, or between which numbers load decides."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", replicas)
    if match is None or int(match[1]) < 1 or int(match[2] or match[1]) < int(match[1]):
        raise SettingError(f"replicas must be a number >= 1, or FEWEST-MOST, got {replicas!r}")
    if match[2] is None:
        return {"num_replicas": int(match[1])}
    return {"autoscaling": [int(match[1]), int(match[2])]}


def check_device(device: str) -> None:
    """Raises SettingError where there is no such device."""
    import torch

    if device == "cpu" or (device.startswith("cuda") and torch.cuda.is_available()):
        return
    raise SettingError(f"--gpu needs a GPU that torch sees, got device {device!r} and none here")


def check_host(host: str, *, has_tokens: bool) -> None:
    """Raises SettingError where anybody on the network could call the service."""
    if host != "localhost":
        try:
            ipaddress.ip_address(host)
        except ValueError as error:
            raise SettingError(f"host must be an address as 127.0.0.1, got {host!r}") from error
    if not is_loopback(host) and not has_tokens:
        raise SettingError(
            f"a service on {host!r} must have tokens, as others can reach it: --token-file FILE "
            "(or --open, if that is meant)"
        )


def write_config(order: ServeOrder, path: Path) -> None:
    """The order as a file for `serve deploy`, and for KubeRay's `serveConfigV2`."""
    args = dict(order.args)
    replicas, autoscaling = args.pop("num_replicas", 1), args.pop("autoscaling", None)
    service: dict[str, Any] = {"name": "ActionService", "user_config": {"models": order.models}}
    if autoscaling is None:
        service["num_replicas"] = replicas
    else:
        args["autoscaling"] = autoscaling
    entry = {
        "name": "ez",
        "import_path": "serve.deployment:build",
        "route_prefix": "/",
        "args": args,
        "deployments": [service],
    }
    text = yaml.safe_dump(
        {
            "proxy_location": "EveryNode",
            "http_options": {"host": order.host, "port": order.port},
            "applications": [entry],
        },
        sort_keys=False,
    )
    path.write_text(
        "# Written by `ez serve --config`; docs/serving.md tells how to use it.\n" + text
    )
