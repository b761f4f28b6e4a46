"""`ez serve` before anything is started: what it refuses, and what it writes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from cli.serve_order import ServeOrder, check_host, named_path, spread
from rllib_ez.errors import SettingError
from tests.cli.conftest import ez


def order(*agents: str, **changes: Any) -> ServeOrder:
    given: dict[str, Any] = {
        "agents": list(agents),
        "follow": [],
        "host": "127.0.0.1",
        "port": 8000,
        "replicas": "1",
        "gpu": False,
        "is_open": False,
        "settings": {},
        "extra": [],
    }
    return ServeOrder.of(**{**given, **changes})


def test_an_agent_is_named_after_its_run(checkpoint: Path):
    assert named_path(str(checkpoint)) == (checkpoint.parent.name, checkpoint)


def test_a_name_may_be_given(checkpoint: Path):
    assert named_path(f"{checkpoint}=pong") == ("pong", checkpoint)


def test_a_folder_with_an_equals_sign_is_found(checkpoint: Path):
    folder = checkpoint.parent / "lr=0.1"
    checkpoint.rename(folder)
    assert named_path(str(folder)) == ("lr-0.1", folder)


def test_two_agents_of_one_name_are_refused(checkpoint: Path):
    with pytest.raises(SettingError, match="a name of its own, got 'a' twice"):
        order(f"{checkpoint}=a", f"{checkpoint}=a")


def test_a_followed_run_is_told_apart(checkpoint: Path):
    found = order(f"{checkpoint}=a", follow=[f"{checkpoint.parent}=b"])
    assert {name: entry["follow"] for name, entry in found.models.items()} == {
        "a": False,
        "b": True,
    }


def test_a_service_for_others_needs_tokens(checkpoint: Path):
    with pytest.raises(SettingError, match="must have tokens"):
        order(str(checkpoint), host="0.0.0.0")


def test_or_says_that_it_is_open(checkpoint: Path):
    assert order(str(checkpoint), host="0.0.0.0", is_open=True).host == "0.0.0.0"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_this_machine_alone_needs_none(host: str):
    check_host(host, has_tokens=False)


@pytest.mark.parametrize(
    ("text", "args"),
    [("1", {"num_replicas": 1}), ("12", {"num_replicas": 12}), ("1-4", {"autoscaling": [1, 4]})],
)
def test_replicas_are_a_number_or_a_range(text: str, args: dict[str, Any]):
    assert spread(text) == args


@pytest.mark.parametrize("text", ["0", "4-1", "many", "1-", "-1", ""])
def test_other_replicas_are_refused(text: str):
    with pytest.raises(SettingError, match="replicas must be"):
        spread(text)


def test_an_unknown_setting_is_refused_with_the_known_ones(checkpoint: Path):
    done = ez("serve", str(checkpoint), "--set", "max_bach=3")
    assert done.exit_code == 2
    assert "max_batch" in done.stderr


def test_a_missing_checkpoint_is_told_before_anything_starts(tmp_path: Path):
    done = ez("serve", str(tmp_path / "nothing"))
    assert done.exit_code == 3
    assert "no such folder" in done.stderr


def test_nothing_to_serve_is_told():
    done = ez("serve")
    assert done.exit_code == 2
    assert "something to serve" in done.stderr


def test_a_taken_port_is_told_before_anything_starts(checkpoint: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = ez("serve", str(checkpoint), "--port", str(port))
    assert done.exit_code == 2
    assert f"port must be free, got {port}" in done.stderr


def test_a_gpu_that_is_not_there_is_told(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = ez("serve", str(checkpoint), "--gpu")
    assert done.exit_code == 2
    assert "--gpu needs a GPU" in done.stderr


def test_missing_packages_are_told(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cli.serve.find_spec", lambda name: None)
    done = ez("serve", str(checkpoint))
    assert done.exit_code == 2
    assert "pip install 'rllib-ez[serve]'" in done.stderr


def test_the_config_file_is_one_that_serve_takes(checkpoint: Path, tmp_path: Path):
    path = tmp_path / "serve.yaml"
    done = ez("serve", f"{checkpoint}=a", "--config", str(path), "--replicas", "1-3")
    assert done.exit_code == 0, done.stderr
    schema = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    (application,) = schema.applications
    assert application.import_path == "serve.deployment:build"
    assert application.args["autoscaling"] == [1, 3]


def test_what_the_config_file_names_can_be_built(checkpoint: Path, tmp_path: Path):
    path = tmp_path / "serve.yaml"
    ez("serve", f"{checkpoint}=a", "--config", str(path), "--max-batch", "8")
    from serve.deployment import build

    entry = yaml.safe_load(path.read_text())["applications"][0]
    assert build(entry["args"])._bound_deployment.name == entry["deployments"][0]["name"]


def test_the_manifests_of_the_docs_are_serve_configs():
    blocks = (Path(__file__).parents[2] / "docs" / "serving.md").read_text().split("```yaml\n")[1:]
    file, manifest = (yaml.safe_load(block.split("```")[0]) for block in blocks)
    inner = yaml.safe_load(manifest["spec"]["serveConfigV2"])
    for config in (file, inner):
        assert ServeDeploySchema.model_validate(config).applications[0].name == "ez"
