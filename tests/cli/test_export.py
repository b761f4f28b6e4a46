from __future__ import annotations

import json
from pathlib import Path

from .conftest import ez


def test_export_writes_the_folder_and_tells_the_differences(checkpoint: Path, tmp_path: Path):
    out = tmp_path / "exported"
    result = ez("export", str(checkpoint), "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert {path.name for path in out.iterdir()} == {"root.onnx", "step.onnx", "contract.json"}
    for name in ("latent", "memory", "prior", "value", "value_prefix"):
        assert f"{name} " in result.stdout
    assert "trained for 100 steps" in result.stdout


def test_the_json_line_holds_the_differences(checkpoint: Path, tmp_path: Path):
    out = tmp_path / "exported"
    result = ez("export", str(checkpoint), "--out", str(out), "--opset", "18", "--json")
    report = json.loads(result.stdout.splitlines()[-1])
    assert (report["out"], report["opset"]) == (str(out), 18)
    parity = report["parity"]
    assert parity["largest_difference"]["latent"] < parity["allowed"]["latent"]


def test_an_existing_folder_is_one_line_and_exit_code_2(checkpoint: Path, tmp_path: Path):
    result = ez("export", str(checkpoint), "--out", str(tmp_path))
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "add --overwrite" in result.stderr


def test_overwrite_replaces_an_older_export(checkpoint: Path, tmp_path: Path):
    command = ["export", str(checkpoint), "--out", str(tmp_path / "exported"), "--overwrite"]
    assert [ez(*command).exit_code for _ in range(2)] == [0, 0]


def test_a_missing_checkpoint_is_exit_code_3(tmp_path: Path):
    result = ez("export", str(tmp_path / "nowhere"), "--out", str(tmp_path / "exported"))
    assert result.exit_code == 3


def test_a_foreign_opset_is_exit_code_2(checkpoint: Path, tmp_path: Path):
    out = tmp_path / "exported"
    result = ez("export", str(checkpoint), "--out", str(out), "--opset", "9")
    assert (result.exit_code, out.exists()) == (2, False)
