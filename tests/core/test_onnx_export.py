"""A checkpoint in, three files out; or an error and nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from rllib_ez.core import onnx_export
from rllib_ez.core.agent_card import AgentCard, read_agent, write_agent
from rllib_ez.core.config import ModelConfig, SearchConfig
from rllib_ez.core.inference import InferenceModel
from rllib_ez.core.onnx_contract import read_contract
from rllib_ez.core.onnx_export import export_agent
from rllib_ez.core.onnx_model import OnnxModel
from rllib_ez.errors import CheckpointError, EfficientZeroError, SettingError
from tests.core.test_networks import ONE_HOT, PAPER, PIXEL, VECTOR, made, observations

SEARCH = SearchConfig(num_simulations=7, lstm_horizon=3)


def checkpoint_of(model: ModelConfig, folder: Path, *, dtype: str) -> Path:
    card = AgentCard(
        env="Toy-v0",
        env_config={},
        frame_size=96,
        grayscale=True,
        frame_dtype=dtype,
        model=model,
        search=SEARCH,
        seed=3,
        num_env_steps=1234,
        num_updates=56,
        written_by="test",
    )
    write_agent(folder / "agent", card, made(model, restless=True).inference_state_dict())
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Frames [3], stacked by 2, 4 actions."""
    return checkpoint_of(VECTOR, tmp_path / "checkpoint_000001", dtype="float32")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where nothing is yet."""
    return tmp_path / "exports" / "agent"


def network_of(checkpoint: Path) -> InferenceModel:
    card, weights = read_agent(checkpoint)
    model = InferenceModel.blank(card.model)
    model.load(weights)
    return model


def test_the_files_run_without_this_package_by_the_contract_alone(checkpoint: Path, out: Path):
    export_agent(checkpoint, out)
    contract = json.loads((out / "contract.json").read_text())
    root, step = (
        onnxruntime.InferenceSession(out / name, providers=["CPUExecutionProvider"])
        for name in contract["files"]
    )
    seen = observations(VECTOR, 5).numpy()
    latent, _, value = root.run(None, {"observation": seen})
    memory, action = np.zeros((2, 5, VECTOR.lstm_size), np.float32), np.array([0, 1, 2, 3, 0])
    outputs = step.run(None, {"latent": latent, "memory": memory, "action": action})
    model = network_of(checkpoint)
    here = model.root(seen)
    expected = model.step(here.latent, torch.from_numpy(memory), torch.from_numpy(action))
    np.testing.assert_allclose(value, here.value, atol=1e-3)
    named = dict(zip([port.name for port in step.get_outputs()], outputs, strict=True))
    np.testing.assert_allclose(named["next_latent"], expected.latent, atol=1e-5)
    np.testing.assert_allclose(named["next_memory"], expected.memory, atol=1e-5)
    np.testing.assert_allclose(named["value_prefix"], expected.value_prefix, atol=1e-3)


@pytest.mark.parametrize(
    ("model", "dtype"),
    [
        (VECTOR, "float32"),
        (VECTOR, "uint8"),
        (PIXEL, "uint8"),
        (PIXEL, "float32"),
        (ONE_HOT, "uint8"),
    ],
)
@pytest.mark.parametrize("opset", [17, 18, 20, 23])
def test_every_kind_of_network_passes_its_own_comparison(tmp_path, model, dtype, opset):
    source = checkpoint_of(model, tmp_path / "checkpoint_000001", dtype=dtype)
    entries = export_agent(source, tmp_path / "out", opset=opset).entries
    assert max(entries["parity"]["largest_difference"].values()) < 3e-5
    assert entries["opset"] == opset
    for name in entries["files"]:
        assert [i.version for i in onnx.load(tmp_path / "out" / name).opset_import] == [opset]


@pytest.mark.parametrize(("model", "dtype"), [(VECTOR, "float32"), (PIXEL, "uint8")])
def test_the_contract_names_the_ports_of_the_files(tmp_path, model, dtype):
    source = checkpoint_of(model, tmp_path / "checkpoint_000001", dtype=dtype)
    files = export_agent(source, tmp_path / "out").entries["files"]
    for name, sides in files.items():
        session = onnxruntime.InferenceSession(tmp_path / "out" / name)
        told = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
        for side, ports in told.items():
            assert [p["name"] for p in sides[side]] == [port.name for port in ports]
            assert [list(p["shape"]) for p in sides[side]] == [port.shape for port in ports]
            kinds = {"float32": "float", "uint8": "uint8", "int64": "int64"}
            assert [f"tensor({kinds[p['dtype']]})" for p in sides[side]] == [p.type for p in ports]


def test_the_contract_holds_what_a_search_needs(checkpoint: Path, out: Path):
    export_agent(checkpoint, out)
    contract = read_contract(out)
    assert (contract.card.search, contract.card.model) == (SEARCH, VECTOR)
    entries = contract.entries
    assert (entries["num_actions"], entries["lstm_horizon"]) == (4, 3)
    assert entries["checkpoint"] == {"num_env_steps": 1234, "num_updates": 56}
    assert entries["preprocessing"]["frame_stack"] == 2


def test_an_exported_folder_says_what_the_checkpoint_says(checkpoint: Path, out: Path):
    export_agent(checkpoint, out)
    seen = observations(VECTOR, 3).numpy()
    got, expected = OnnxModel.from_folder(out).root(seen), network_of(checkpoint).root(seen)
    np.testing.assert_allclose(got.latent, expected.latent, atol=1e-5)
    np.testing.assert_allclose(got.prior, expected.prior, atol=1e-5)


def test_an_exported_folder_takes_new_weights(checkpoint: Path, out: Path):
    export_agent(checkpoint, out)
    model = OnnxModel.from_folder(out)
    model.load(made(VECTOR).inference_state_dict())  # untrained: every head is 0
    np.testing.assert_allclose(model.root(observations(VECTOR, 2).numpy()).prior, 0.25)


def test_an_existing_folder_is_refused(checkpoint: Path, out: Path):
    out.mkdir(parents=True)
    with pytest.raises(SettingError, match="out must not exist yet.*--overwrite"):
        export_agent(checkpoint, out)


def test_an_older_export_is_replaced_when_told_so(checkpoint: Path, out: Path):
    export_agent(checkpoint, out, opset=17)
    export_agent(checkpoint, out, opset=18, overwrite=True)
    assert read_contract(out).entries["opset"] == 18
    assert [path.name for path in out.parent.iterdir()] == ["agent"]


def test_a_folder_that_is_no_export_is_never_replaced(checkpoint: Path, out: Path):
    out.mkdir(parents=True)
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(SettingError, match=r"without contract\.json"):
        export_agent(checkpoint, out, overwrite=True)
    assert (out / "thesis.tex").read_text() == "years of work"


def test_a_difference_beyond_the_tolerance_leaves_nothing(checkpoint, out, monkeypatch):
    monkeypatch.setitem(onnx_export.TOLERANCES, "latent", -1.0)
    with pytest.raises(EfficientZeroError, match=r"'latent': '.*\(at most -1\)'.*nothing was wri"):
        export_agent(checkpoint, out)
    assert list(out.parent.iterdir()) == []


def test_a_failed_export_leaves_the_older_one_alone(checkpoint, out, monkeypatch):
    export_agent(checkpoint, out, opset=17)
    monkeypatch.setitem(onnx_export.TOLERANCES, "latent", -1.0)
    with pytest.raises(EfficientZeroError):
        export_agent(checkpoint, out, opset=18, overwrite=True)
    assert read_contract(out).entries["opset"] == 17
    assert [path.name for path in out.parent.iterdir()] == ["agent"]


def test_a_failed_last_move_puts_the_older_export_back(checkpoint, out, monkeypatch):
    export_agent(checkpoint, out, opset=17)
    rename = Path.rename

    def fail_with_the_new(path: Path, target: Path) -> Path:
        if path.suffix == ".partial":
            raise OSError("disk full")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_with_the_new)
    with pytest.raises(OSError, match="disk full"):
        export_agent(checkpoint, out, opset=18, overwrite=True)
    assert read_contract(out).entries["opset"] == 17
    assert [path.name for path in out.parent.iterdir()] == ["agent"]


def test_a_network_of_nans_is_not_exported(checkpoint: Path, out: Path):
    card, weights = read_agent(checkpoint)
    weights["trunk.encoder.0.bias"][:] = torch.nan
    write_agent(checkpoint / "agent", card, weights)
    with pytest.raises(EfficientZeroError, match="'latent': 'nan"):
        export_agent(checkpoint, out)


def test_weights_that_do_not_fit_the_card_are_refused(checkpoint: Path, out: Path):
    card, weights = read_agent(checkpoint)
    del weights["trunk.encoder.0.bias"]
    write_agent(checkpoint / "agent", card, weights)
    with pytest.raises(CheckpointError, match=r"fit its card.*trunk\.encoder\.0\.bias"):
        export_agent(checkpoint, out)


def test_a_difference_is_found_wherever_it_is(checkpoint: Path):
    card, _ = read_agent(checkpoint)
    reference, other = network_of(checkpoint), network_of(checkpoint)
    with torch.no_grad():
        other.network.lstm.bias_ih_l0[0] += 0.1  # moves memory and value prefix only
    found = onnx_export.compare(OnnxModel(other.network), reference, card).largest_difference
    assert {name for name, share in found.items() if share > 1e-3} == {"memory", "value_prefix"}


def test_rounding_that_torch_shares_is_forgiven(tmp_path: Path):
    # Its latents grow to 1e5, and the LSTM sees their last bits.
    source = checkpoint_of(PAPER, tmp_path / "checkpoint_000001", dtype="uint8")
    parity = export_agent(source, tmp_path / "out").entries["parity"]
    assert parity["largest_difference"]["memory"] > onnx_export.TOLERANCES["memory"]


def test_a_wrong_weight_is_not_forgiven(checkpoint: Path):
    card, _ = read_agent(checkpoint)
    reference, other = network_of(checkpoint), network_of(checkpoint)
    with torch.no_grad():
        other.network.trunk.step[0].weight[0] *= 1.01
    with pytest.raises(EfficientZeroError, match="'latent'"):
        onnx_export.compare(OnnxModel(other.network), reference, card).check()


@pytest.mark.parametrize("name", ["root.onnx", "step.onnx"])
def test_a_changed_file_is_refused(checkpoint: Path, out: Path, name: str):
    export_agent(checkpoint, out)
    content = bytearray((out / name).read_bytes())
    content[-1] ^= 1
    (out / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"another for \['{name}'\].*export again"):
        OnnxModel.from_folder(out)


def test_a_graph_that_does_not_run_is_refused(checkpoint: Path, out: Path):
    export_agent(checkpoint, out)
    (out / "step.onnx").write_bytes(b"no graph")
    text, digest = (out / "contract.json").read_text(), hashlib.sha256(b"no graph").hexdigest()
    old = json.loads(text)["files"]["step.onnx"]["sha256"]
    (out / "contract.json").write_text(text.replace(old, digest))
    with pytest.raises(CheckpointError, match="graphs must run on this ONNX Runtime"):
        OnnxModel.from_folder(out)


@pytest.mark.parametrize("name", ["root.onnx", "step.onnx", "contract.json"])
def test_a_missing_file_is_refused(checkpoint: Path, out: Path, name: str):
    export_agent(checkpoint, out)
    (out / name).unlink()
    with pytest.raises(CheckpointError, match=f"FileNotFoundError.*{name}"):
        read_contract(out)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "rllib-ez-onnx"}'])
def test_a_torn_contract_is_refused(checkpoint: Path, out: Path, text: str):
    export_agent(checkpoint, out)
    (out / "contract.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"readable contract\.json"):
        read_contract(out)


def test_another_programs_contract_is_refused(checkpoint: Path, out: Path):
    export_agent(checkpoint, out)
    path = out / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": "lightzero"}))
    with pytest.raises(CheckpointError, match="no format 'rllib-ez-onnx'"):
        read_contract(out)


def test_a_newer_format_is_refused_with_advice(checkpoint: Path, out: Path):
    export_agent(checkpoint, out)
    path = out / "contract.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))
    with pytest.raises(CheckpointError, match="format_version 2 where 1 is known; install a newer"):
        read_contract(out)
