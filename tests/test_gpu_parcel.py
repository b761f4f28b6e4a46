"""A parcel holds a run: what comes out of it goes on as the run would have."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.gpu import parcel as parcel_module
from benchmarks.gpu.arrays import Arrays, put_back, taken_out
from benchmarks.gpu.parcel import ParcelError, pack, read_tree, unpack
from rllib_ez.core.agent_card import read_agent
from tests.cli.conftest import TINY, trained

SGD = ["--set", "optimizer_name=sgd", "--set", "learning_rate=0.05"]
pytestmark = [pytest.mark.ray, pytest.mark.slow]
CARTPOLE = ["train", "--env", "cartpole", *TINY, *SGD, "--no-episodes", "--checkpoint-every", "40"]


def put_through(tree: Any, *, loss: int = 0, bases: dict[str, np.ndarray] | None = None) -> Any:
    arrays = Arrays(loss)
    arrays.bases |= bases or {}
    found = taken_out(tree, arrays)
    return put_back(found, {name: bytes(s) for name, s in arrays.sections.items()}), arrays


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_arrays_and_tensors_come_back_as_they_were():
    tree = {"a": floats(0, 3, 2), "b": [torch.arange(4), {"c": np.array(7)}], "d": "text"}
    back, _ = put_through(tree)
    np.testing.assert_array_equal(back["a"], tree["a"])
    assert back["b"][0].tolist() == [0, 1, 2, 3]
    assert (back["b"][1]["c"].shape, int(back["b"][1]["c"]), back["d"]) == ((), 7, "text")


def test_equal_arrays_are_kept_once():
    _, arrays = put_through({"a": floats(0, 100), "b": torch.from_numpy(floats(0, 100))})
    assert len(arrays.sections["weights"]) == 400


def test_a_target_network_is_told_by_the_weights_of_the_same_name():
    target, base = floats(0, 50), floats(0, 50) * np.float32(1.001)
    back, arrays = put_through({"w": target}, bases={"w": base})
    np.testing.assert_array_equal(back["w"], target)
    top_bytes = np.frombuffer(arrays.sections["weights"][150:200], np.uint8)
    assert np.count_nonzero(top_bytes) <= 2  # sign and exponent agree


@pytest.mark.parametrize(("loss", "expected"), [(0, 1.001953), (1, 1.0), (2, 0.0)])
def test_only_momentum_is_rounded_or_left_out(loss: int, expected: float):
    value = np.array([1.001953], np.float32)  # bf16 tells 1 and 1.0078125
    back, _ = put_through({"momentum_buffer": value, "weight": value}, loss=loss)
    np.testing.assert_array_equal(back["momentum_buffer"], np.array([expected], np.float32))
    np.testing.assert_array_equal(back["weight"], value)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 120 env steps and some updates."""
    out = tmp_path_factory.mktemp("runs") / "run"
    trained(*CARTPOLE, "--env-steps", "120", "--out", str(out))
    return out


def newest(run: Path) -> Path:
    return max(run.glob("checkpoint_*"))


def files_of(run: Path) -> list[str]:
    return sorted(p.relative_to(run).as_posix() for p in newest(run).rglob("*") if p.is_file())


def weights_of(run: Path) -> dict[str, list[float]]:
    return {name: tensor.tolist() for name, tensor in read_agent(run)[1].items()}


def test_a_run_out_of_a_parcel_goes_on_to_the_same_bits(run: Path, tmp_path: Path):
    manifest = pack(run, tmp_path / "parcel")
    unpack(tmp_path / "parcel", tmp_path / "back")
    shutil.copytree(run, tmp_path / "stayed")
    ends = []
    for name in ("stayed", "back"):
        end = trained("train", "--resume", str(tmp_path / name), "--env-steps", "160")
        ends.append((end["env_steps"], end["updates"], weights_of(tmp_path / name)))
    assert manifest["lost"] == "nothing"
    assert ends[0] == ends[1]
    assert ends[0][:2] == (160, 40)


def test_a_parcel_holds_every_file_of_the_checkpoint(run: Path, tmp_path: Path):
    pack(run, tmp_path / "parcel")
    unpack(tmp_path / "parcel", tmp_path / "back")
    assert files_of(tmp_path / "back") == files_of(run)
    rows = [(folder / "progress.jsonl").read_text() for folder in (run, tmp_path / "back")]
    assert rows[0] == rows[1]


def test_what_does_not_fit_loses_momentum_and_then_fails(run: Path, tmp_path: Path):
    sizes = {name: size for name, (size, _) in pack(run, tmp_path)["sections"].items()}
    exact = sum(sizes.values())
    assert pack(run, tmp_path, limit=exact)["lost"] == "nothing"
    assert pack(run, tmp_path, limit=exact - 1)["lost"] == "momentum is rounded to bf16"
    without = exact - sizes["momentum"] + 9  # of an empty section
    assert pack(run, tmp_path, limit=without + 50)["lost"] == "momentum starts at zero"
    with pytest.raises(ParcelError, match=r"at most 1,000 bytes, got [\d,]+: files"):
        pack(run, tmp_path, limit=1000)


def test_rounded_momentum_changes_nothing_else(run: Path, tmp_path: Path):
    exact = pack(run, tmp_path / "parcel")["bytes"]
    pack(run, tmp_path / "parcel", limit=exact - 1)
    unpack(tmp_path / "parcel", tmp_path / "back")
    assert weights_of(tmp_path / "back") == weights_of(run)
    before, after = (optimizer_of(folder) for folder in (run, tmp_path / "back"))
    np.testing.assert_allclose(after, before, rtol=2**-8)
    assert not np.array_equal(after, before)


def optimizer_of(run: Path) -> np.ndarray:
    """Momentum of the first parameter."""
    state = read_tree(newest(run) / "learner_group" / "learner" / "state.pkl")
    (one,) = state["optimizer"].values()
    return np.asarray(one["state"]["state"][0]["momentum_buffer"])


def test_parts_are_small_and_a_damaged_one_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parcel_module, "PART_BYTES", 5000)
    pack(run, tmp_path)
    parts = sorted(tmp_path.glob("part_*"))
    assert len(parts) > 1
    assert max(part.stat().st_size for part in parts) == 5000
    content = bytearray(parts[1].read_bytes())
    content[9] ^= 1
    parts[1].write_bytes(content)
    with pytest.raises(ParcelError, match="part_1 must be as it was packed"):
        unpack(tmp_path, tmp_path / "back")
    parts[1].unlink()
    with pytest.raises(ParcelError, match="a part must be there"):
        unpack(tmp_path, tmp_path / "back")


def test_a_run_that_will_not_fit_is_told_before_it_is_trained(run: Path, tmp_path: Path):
    manifest = pack(run, tmp_path)
    changed = manifest | {"least_bytes_at_the_end": manifest["limit"] + 1}
    (tmp_path / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(ParcelError, match="last parcel must be of at most 60,000,000 bytes"):
        unpack(tmp_path, tmp_path / "back")


def test_a_run_that_is_there_already_is_left_alone(run: Path, tmp_path: Path):
    pack(run, tmp_path)
    with pytest.raises(ParcelError, match="must hold no checkpoint"):
        unpack(tmp_path, run)
