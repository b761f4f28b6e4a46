from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rllib_ez.core.config import ModelConfig
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.networks.pixel import action_codes
from rllib_ez.errors import SettingError

VECTOR = ModelConfig(frame_shape=(3,), frame_stack=2, num_actions=4, hidden_size=16, lstm_size=8)
PIXEL = ModelConfig(
    network="pixel",
    frame_shape=(24, 24, 1),
    frame_stack=2,
    num_actions=4,
    latent_channels=8,
    head_channels=4,
    lstm_size=8,
    value_bins=11,
    value_prefix_bins=7,
    projection_size=16,
)
ONE_HOT = replace(PIXEL, action_encoding="one_hot")
PAPER = ModelConfig(
    network="pixel",
    frame_shape=(96, 96, 3),
    frame_stack=4,
    num_actions=18,
    latent_channels=64,
    head_channels=16,
    head_hidden_size=32,
    lstm_size=512,
    value_bins=601,
    value_prefix_bins=601,
    projection_size=1024,
    prediction_hidden_size=512,
)


def made(config: ModelConfig, *, restless: bool = False) -> EfficientZeroModel:
    """In evaluation mode; if restless no weight is 0, and inputs reach every output."""
    torch.manual_seed(0)
    model = EfficientZeroModel(config).eval()
    if not restless:
        return model
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5)
        elif name.endswith("weight"):  # of a norm
            nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            nn.init.normal_(parameter, std=0.2)
    return model


def observations(config: ModelConfig, count: int) -> Tensor:
    shape = (count, config.frame_stack, *config.frame_shape)
    rng = np.random.default_rng(0)
    if config.network == "pixel":
        return torch.from_numpy(rng.integers(256, size=shape, dtype=np.uint8))
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def size(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture(scope="module")
def paper() -> EfficientZeroModel:
    return made(PAPER)


# Published counts are those of 18 actions, without modules that its forward pass never uses.


def test_representation_has_the_papers_size(paper: EfficientZeroModel):
    assert size(paper.trunk.encoder) == 318_016


def test_dynamics_has_the_papers_size(paper: EfficientZeroModel):
    trunk = paper.trunk
    assert size(trunk.step_conv, trunk.step_norm, trunk.step_blocks) == 111_552


def test_prefix_head_has_the_papers_size(paper: EfficientZeroModel):
    parts = (paper.trunk.prefix_head, paper.lstm, paper.prefix_norm, paper.prefix_hidden)
    assert size(*parts, paper.prefix_output) == 2_270_729


def test_prediction_has_the_papers_size(paper: EfficientZeroModel):
    assert size(paper.prediction) == 133_611


def test_projector_and_predictor_have_the_papers_sizes(paper: EfficientZeroModel):
    assert (size(paper.projector), size(paper.predictor)) == (4_465_664, 1_051_136)


def test_acting_needs_as_many_parameters_as_the_papers_network(paper: EfficientZeroModel):
    parts = [module for name, module in paper.named_children() if name[:2] != "pr"]
    prefix = (paper.prefix_norm, paper.prefix_hidden, paper.prefix_output)
    assert size(*parts, *prefix, paper.prediction) == 2_833_908


def test_latent_of_the_paper_is_64_by_6_by_6(paper: EfficientZeroModel):
    assert paper.represent(observations(PAPER, 1)).shape == (1, 64, 6, 6)


@pytest.mark.parametrize(
    ("frame_shape", "latent"),
    [((24, 24, 1), (2, 2)), ((84, 84, 1), (6, 6)), ((64, 64, 3), (4, 4)), ((20, 33, 3), (2, 3))],
)
def test_other_frame_sizes_shrink_sixteenfold_too(frame_shape, latent):
    config = ModelConfig(
        network="pixel", frame_shape=frame_shape, latent_channels=4, head_channels=2
    )
    model = made(config)
    out = model.root(observations(config, 2))
    assert out.latent.shape == (2, 4, *latent) == (2, *model.trunk.latent_shape)
    assert model.transition(out.latent, torch.tensor([0, 1])).shape == out.latent.shape


@pytest.mark.parametrize(
    ("frame_shape", "latent"), [((64, 64, 3), (8, 8)), ((24, 24, 1), (3, 3)), ((20, 33, 3), (3, 5))]
)
def test_small_frames_may_shrink_eightfold(frame_shape, latent):
    config = ModelConfig(
        network="pixel", frame_shape=frame_shape, latent_channels=4, head_channels=2, downsampling=8
    )
    model = made(config)
    out = model.root(observations(config, 2))
    assert out.latent.shape == (2, 4, *latent) == (2, *model.trunk.latent_shape)
    assert model.transition(out.latent, torch.tensor([0, 1])).shape == out.latent.shape


def test_shrinking_eightfold_leaves_a_pool_out_and_no_block():
    config = replace(PIXEL, downsampling=8)
    both = made(config).trunk.encoder, made(PIXEL).trunk.encoder
    assert len({size(encoder) for encoder in both}) == 1
    pools = [sum(isinstance(m, nn.AvgPool2d) for m in encoder) for encoder in both]
    assert pools == [1, 2]


@pytest.mark.parametrize("config", [VECTOR, PIXEL])
def test_outputs_have_the_shapes_of_the_types(config: ModelConfig):
    model = made(config)
    root = model.root(observations(config, 5))
    step = model.step(root.latent, torch.zeros(2, 5, 8), torch.tensor([0, 1, 2, 3, 0]))
    assert root.policy_logits.shape == step.policy_logits.shape == (5, 4)
    assert root.value_logits.shape == step.value_logits.shape == (5, config.value_bins)
    assert step.value_prefix_logits.shape == (5, config.value_prefix_bins)
    assert step.memory.shape == (2, 5, 8)
    assert step.latent.shape == root.latent.shape
    assert model.project(root.latent).shape == (5, config.projection_size)


@pytest.mark.parametrize("config", [VECTOR, PIXEL])
def test_a_new_network_favours_nothing(config: ModelConfig):
    model = made(config)
    root = model.root(observations(config, 3))
    step = model.step(root.latent, torch.zeros(2, 3, 8), torch.tensor([0, 1, 2]))
    for logits in (root.policy_logits, root.value_logits, step.policy_logits, step.value_logits):
        assert (logits == 0).all()
    assert (step.value_prefix_logits == 0).all()


@pytest.mark.parametrize("config", [VECTOR, PIXEL])
def test_reading_a_sequence_is_reading_it_step_by_step(config: ModelConfig):
    model = made(config, restless=True)
    latents = torch.stack([model.represent(observations(config, 3) + k) for k in range(4)], dim=1)
    whole, memory = model.accumulate(latents, None)
    state = torch.zeros(2, 3, 8)
    for k in range(4):
        logits, state = model.accumulate(latents[:, k : k + 1], state)
        torch.testing.assert_close(logits[:, 0], whole[:, k], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state, memory, rtol=1e-4, atol=1e-5)


def test_no_memory_is_a_memory_of_zeros():
    model = made(VECTOR, restless=True)
    latents = model.represent(observations(VECTOR, 2))[:, None]
    fresh, _ = model.accumulate(latents, None)
    zeros, _ = model.accumulate(latents, torch.zeros(2, 2, 8))
    assert torch.equal(fresh, zeros)


def test_hidden_state_comes_before_cell_state_in_memory():
    model = made(VECTOR, restless=True)
    latents = model.represent(observations(VECTOR, 2))[:, None]
    _, memory = model.accumulate(latents, None)
    outputs, (h, c) = model.lstm(latents)
    assert torch.equal(memory, torch.cat((h, c)))
    assert torch.equal(memory[0], outputs[:, 0])


def test_an_action_is_a_number_on_one_plane_or_a_plane_of_its_own():
    assert torch.allclose(action_codes(4, "scalar"), torch.tensor([[0.25], [0.5], [0.75], [1.0]]))
    assert torch.equal(action_codes(3, "one_hot"), torch.eye(3))
    planes = made(ONE_HOT).trunk.action_planes()
    assert planes.shape == (4, 4, 2, 2)
    assert torch.equal(planes[2].flatten(1).sum(1), torch.tensor([0.0, 0.0, 4.0, 0.0]))
    assert "trunk.action_codes" not in made(ONE_HOT).state_dict()


def test_through_one_plane_actions_lie_on_a_line_and_with_planes_of_their_own_they_do_not():
    """Before the first norm: what action 2 changes is twice what 1 changes, from 0 on."""
    for config, on_a_line in ((PIXEL, True), (ONE_HOT, False)):
        trunk = made(config, restless=True).trunk
        planes = trunk.action_planes()
        latent = torch.zeros(4, *trunk.latent_shape)
        change = trunk.step_conv(torch.cat((latent, planes), 1)).flatten(1)
        apart = (change[2] - change[0]) - 2 * (change[1] - change[0])
        assert (apart.norm() < 1e-5 * change.norm()) == on_a_line


@pytest.mark.parametrize("config", [VECTOR, PIXEL, ONE_HOT])
def test_each_action_leads_elsewhere(config: ModelConfig):
    model = made(config, restless=True)
    latent = model.represent(observations(config, 1)).repeat_interleave(4, 0)
    after = model.transition(latent, torch.arange(4)).flatten(1)
    assert (torch.cdist(after, after) + torch.eye(4) > 1e-4).all()


@pytest.mark.parametrize("config", [VECTOR, PIXEL])
def test_samples_do_not_influence_each_other_in_evaluation(config: ModelConfig):
    model = made(config, restless=True)
    batch = observations(config, 4)
    whole, alone = model.root(batch), model.root(batch[2:3])
    torch.testing.assert_close(alone.latent[0], whole.latent[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.value_logits[0], whole.value_logits[2], rtol=1e-4, atol=1e-5)


def test_bytes_and_floats_of_the_same_pixels_agree():
    model = made(PIXEL, restless=True)
    pixels = observations(PIXEL, 2)
    assert torch.equal(model.represent(pixels), model.represent(pixels.float()))


def test_frames_are_stacked_as_channels_oldest_first_and_scaled_to_one():
    config = ModelConfig(network="pixel", frame_shape=(4, 6, 3), frame_stack=2, latent_channels=4)
    model = made(config)
    model.trunk.encoder = nn.Identity()
    pixels = observations(config, 2)
    channels = model.represent(pixels)  # [B, L*C, H, W]
    assert channels.shape == (2, 6, 4, 6)
    assert torch.equal(channels[1, 3 * 1 + 2], pixels[1, 1, :, :, 2] / 255.0)
    assert torch.equal(channels[0, 0], pixels[0, 0, :, :, 0] / 255.0)


def test_vectors_without_a_scale_are_squashed_with_their_sign():
    """symlog(e - 1) = 1."""
    config = ModelConfig(frame_shape=(3,), frame_stack=1)
    model = made(config)
    model.trunk.encoder = nn.Identity()
    seen = torch.tensor([[[0.0, np.e - 1, 1 - np.e]]])
    torch.testing.assert_close(model.represent(seen), torch.tensor([[0.0, 1.0, -1.0]]))


def test_vectors_with_a_scale_are_multiplied():
    config = ModelConfig(frame_shape=(2,), frame_stack=2, observation_scale=(0.5, 10.0))
    model = made(config)
    model.trunk.encoder = nn.Identity()
    seen = torch.tensor([[[2.0, 1.0], [4.0, -1.0]]])
    assert model.represent(seen).tolist() == [[1.0, 10.0, 2.0, -10.0]]


def test_the_length_of_an_observation_is_not_lost():
    """A layer norm of W x alone is the same for x and 3 x: a bias tells them apart."""
    model = made(ModelConfig(frame_shape=(2,), observation_scale=(1.0, 1.0)))
    seen = torch.tensor([[[0.3, -0.2]], [[0.9, -0.6]]])
    one, other = model.represent(seen)
    assert (one - other).abs().max() > 0.05


def test_the_observation_scale_is_no_weight():
    config = ModelConfig(frame_shape=(2,), observation_scale=(0.5, 10.0))
    assert "trunk.observation_scale" not in made(config).state_dict()


@pytest.mark.parametrize("frame_shape", [(24,), (24, 24)])
def test_flat_frames_are_refused_by_the_pixel_network(frame_shape: tuple[int, ...]):
    with pytest.raises(SettingError, match="frame_shape must be"):
        EfficientZeroModel(ModelConfig(network="pixel", frame_shape=frame_shape))


def test_acting_needs_no_simsiam_weights():
    model = made(VECTOR)
    names = set(model.state_dict()) - set(model.inference_state_dict())
    assert {name.split(".")[0] for name in names} == {"projector", "predictor"}


def test_the_length_of_an_observation_is_not_forgotten():
    """A layer norm straight after a linear layer without bias would forget it."""
    torch.manual_seed(0)
    config = ModelConfig(observation_scale=(1.0,) * 4)
    model = EfficientZeroModel(config).eval()
    direction = torch.tensor([[[1.0, 0.5, -0.5, 0.2]]])
    short, long = model.represent(0.1 * direction), model.represent(2.0 * direction)
    assert (short - long).abs().max() > 0.1
