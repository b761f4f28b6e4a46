"""One frozen dataclass a stage, checked when made.

The same fields stand flat on `EfficientZeroConfig` (Ray Tune cannot resolve `grid_search`
inside a dataclass); `tests/algorithm/test_config.py` holds names and defaults together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rllib_ez.errors import SettingError

PRECISIONS = ("float32", "bfloat16", "auto")  # that the learner's network can run in
ENGINES = ("auto", "compiled", "cuda", "torch")  # forms of the network that a search can use


def _check(ok: bool, name: str, rule: str, value: object) -> None:
    if not ok:
        raise SettingError(f"{name} must be {rule}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The shape of the network. Sizes of the paper: see the presets `atari100k*`."""

    network: str = "vector"  # "vector" (frames [D]) or "pixel" (frames [H, W, C] uint8)
    frame_shape: tuple[int, ...] = (4,)  # one frame, as the environment gives it
    frame_stack: int = 1  # frames in one observation, >= 1
    num_actions: int = 2  # >= 1
    observation_scale: tuple[float, ...] | None = None  # vector: factor per entry; None: symlog
    hidden_size: int = 64  # vector: width of every layer and of the latent
    latent_channels: int = 64  # pixel: channels of the latent, >= 2; the stem has half of them
    num_blocks: int = 1  # pixel: residual blocks at each scale
    downsampling: int = 16  # pixel: 8 (small frames, as 64x64) or 16 (the paper's 96x96)
    action_encoding: str = "scalar"  # pixel: "scalar" (the paper's) or "one_hot" planes
    head_channels: int = 16  # pixel: 1x1 convolution before a head's linear layers
    head_hidden_size: int = 32  # pixel: width of the layer before a head's output
    lstm_size: int = 32  # units of the value-prefix LSTM
    value_range: float = 100.0  # the value's bins lie in +-this after scaling by h
    value_bins: int = 201  # odd, so that 0 is a bin
    value_prefix_range: float = 20.0  # the same for the value prefix
    value_prefix_bins: int = 81  # odd
    projection_size: int = 128  # SimSiam projector: width and output
    prediction_hidden_size: int = 64  # SimSiam predictor: hidden width

    def __post_init__(self) -> None:
        known = self.network in ("vector", "pixel")
        _check(known, "network", "'vector' or 'pixel'", self.network)
        for name in (
            "frame_stack num_actions hidden_size num_blocks head_channels "
            "head_hidden_size lstm_size projection_size prediction_hidden_size"
        ).split():
            _check(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        _check(self.latent_channels >= 2, "latent_channels", ">= 2", self.latent_channels)
        _check(self.downsampling in (8, 16), "downsampling", "8 or 16", self.downsampling)
        known = self.action_encoding in ("scalar", "one_hot")
        _check(known, "action_encoding", "'scalar' or 'one_hot'", self.action_encoding)
        for name in ("value_range", "value_prefix_range"):
            _check(getattr(self, name) > 0, name, "> 0", getattr(self, name))
        for name in ("value_bins", "value_prefix_bins"):
            bins = getattr(self, name)
            _check(bins >= 3 and bins % 2 == 1, name, "odd and >= 3", bins)
        if self.observation_scale is not None:
            _check(
                len(self.observation_scale) == math.prod(self.frame_shape),
                "observation_scale",
                f"one number per entry of a frame ({math.prod(self.frame_shape)})",
                self.observation_scale,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """How hard, and how greedily, to search one root."""

    num_simulations: int = 50  # expansions per root, >= 1
    discount: float = 0.997  # per env step, after frame skip; (0, 1]
    search_method: str = "puct"  # "puct" (the paper's) or "gumbel" (few simulations suffice)
    max_considered_actions: int = 16  # gumbel: actions tried at the root, >= 1
    gumbel_c_visit: float = 50.0  # gumbel: weight of Q against the prior, at no visits
    gumbel_c_scale: float = 0.1  # gumbel: the same, per visit
    pb_c_init: float = 1.25  # weight of the prior, c1 of PUCT
    pb_c_base: float = 19652.0  # c2 of PUCT: the prior's weight grows past this many visits
    min_max_delta: float = 0.01  # smallest spread that Q is normalised by, in reward units
    root_dirichlet_alpha: float = 0.3  # concentration of the root noise
    root_noise_fraction: float = 0.25  # share of noise in the root's prior, [0, 1]
    lstm_horizon: int = 5  # the value prefix starts anew every this many steps, >= 1

    def __post_init__(self) -> None:
        _check(self.num_simulations >= 1, "num_simulations", ">= 1", self.num_simulations)
        _check(0 < self.discount <= 1, "discount", "in (0, 1]", self.discount)
        known = self.search_method in ("puct", "gumbel")
        _check(known, "search_method", "'puct' or 'gumbel'", self.search_method)
        considered = self.max_considered_actions
        _check(considered >= 1, "max_considered_actions", ">= 1", considered)
        for name in ("gumbel_c_visit", "gumbel_c_scale"):
            _check(getattr(self, name) >= 0, name, ">= 0", getattr(self, name))
        _check(self.pb_c_init >= 0, "pb_c_init", ">= 0", self.pb_c_init)
        _check(self.pb_c_base > 0, "pb_c_base", "> 0", self.pb_c_base)
        _check(self.min_max_delta > 0, "min_max_delta", "> 0", self.min_max_delta)
        _check(
            self.root_dirichlet_alpha > 0, "root_dirichlet_alpha", "> 0", self.root_dirichlet_alpha
        )
        fraction = self.root_noise_fraction
        _check(0 <= fraction <= 1, "root_noise_fraction", "in [0, 1]", fraction)
        _check(self.lstm_horizon >= 1, "lstm_horizon", ">= 1", self.lstm_horizon)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """How much is remembered and how it is drawn."""

    replay_bytes: int = 4 * 2**30  # budget for everything kept per position
    replay_capacity: int = 1_000_000  # positions, if the budget allows so many
    priority_exponent: float = 0.6  # alpha; 0 draws uniformly
    is_exponent_initial: float = 0.4  # beta at the first update
    is_exponent_final: float = 1.0  # beta at the last
    is_exponent_updates: int = 120_000  # updates over which beta grows linearly

    def __post_init__(self) -> None:
        _check(self.replay_bytes >= 1, "replay_bytes", ">= 1", self.replay_bytes)
        _check(self.replay_capacity >= 1, "replay_capacity", ">= 1", self.replay_capacity)
        _check(self.priority_exponent >= 0, "priority_exponent", ">= 0", self.priority_exponent)
        for name in ("is_exponent_initial", "is_exponent_final"):
            _check(0 <= getattr(self, name) <= 1, name, "in [0, 1]", getattr(self, name))
        _check(
            self.is_exponent_updates >= 1, "is_exponent_updates", ">= 1", self.is_exponent_updates
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetsConfig:
    """What the network is taught."""

    unroll_steps: int = 5  # K, imagined steps per sample, >= 1
    td_steps: int = 5  # longest horizon of the value target, >= 1
    discount: float = 0.997  # as in SearchConfig
    lstm_horizon: int = 5  # as in SearchConfig
    off_policy_correction: bool = True  # shorten the horizon of old samples
    horizon_decay_updates: int = 30_000  # one step less for each so many updates of age
    reanalyse_fraction: float = 1.0  # share of samples whose policy is searched anew
    bootstrap: str = "search"  # "search": fresh root value; "network": fresh value head

    def __post_init__(self) -> None:
        _check(self.unroll_steps >= 1, "unroll_steps", ">= 1", self.unroll_steps)
        _check(self.td_steps >= 1, "td_steps", ">= 1", self.td_steps)
        _check(0 < self.discount <= 1, "discount", "in (0, 1]", self.discount)
        _check(self.lstm_horizon >= 1, "lstm_horizon", ">= 1", self.lstm_horizon)
        decay = self.horizon_decay_updates
        _check(decay >= 1, "horizon_decay_updates", ">= 1", decay)
        fraction = self.reanalyse_fraction
        _check(0 <= fraction <= 1, "reanalyse_fraction", "in [0, 1]", fraction)
        known = self.bootstrap in ("search", "network")
        _check(known, "bootstrap", "'search' or 'network'", self.bootstrap)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """How the parts of the loss are weighed."""

    value_prefix_weight: float = 1.0  # of the cross entropy, >= 0; the next two as well
    policy_weight: float = 1.0  # the paper's
    value_weight: float = 0.25  # the paper's
    consistency_weight: float = 2.0  # 0 turns the self-supervised branch off
    consistency_loss: str = "simsiam"  # or "infonce": the batch's other samples as negatives
    infonce_temperature: float = 0.1  # infonce: cosines are divided by it, > 0
    dynamics_gradient_scale: float = 0.5  # of the gradient that enters an earlier latent
    augmentation: bool = True  # pixel only: random shift and intensity
    shift_pixels: int = 4  # largest shift in each direction
    intensity_scale: float = 0.05  # standard deviation of the brightness factor

    def __post_init__(self) -> None:
        for name in (
            "value_prefix_weight policy_weight value_weight consistency_weight "
            "dynamics_gradient_scale shift_pixels intensity_scale"
        ).split():
            _check(getattr(self, name) >= 0, name, ">= 0", getattr(self, name))
        known = self.consistency_loss in ("simsiam", "infonce")
        _check(known, "consistency_loss", "'simsiam' or 'infonce'", self.consistency_loss)
        temperature = self.infonce_temperature
        _check(temperature > 0, "infonce_temperature", "> 0", temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """How the learner runs its network: for speed only."""

    learner_precision: str = "float32"  # "bfloat16": by autocast; "auto": bfloat16 if it is fast
    channels_last: bool = False  # pixel: convolutions with the channels innermost in memory
    compile_network: bool = False  # torch.compile: a minute at the start, needs a C++ compiler

    def __post_init__(self) -> None:
        known = " or ".join(repr(name) for name in PRECISIONS)
        precision = self.learner_precision
        _check(precision in PRECISIONS, "learner_precision", known, precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """How gradients become steps."""

    optimizer_name: str = "adam"  # "sgd" (momentum 0.9, the paper's) or "adam"
    learning_rate: float = 1e-3  # after warm-up
    warmup_updates: int = 0  # linear from 0
    decay_at_update: int = 0  # times 0.1 from here on; 0 never
    weight_decay: float = 1e-5  # on every parameter
    max_grad_norm: float = 5.0  # over all gradients together, clipped beyond
    precise_batch_norm: bool = False  # acting: statistics of the last batches, arXiv:2105.07576

    def __post_init__(self) -> None:
        known = self.optimizer_name in ("sgd", "adam")
        _check(known, "optimizer_name", "'sgd' or 'adam'", self.optimizer_name)
        _check(self.learning_rate > 0, "learning_rate", "> 0", self.learning_rate)
        for name in ("warmup_updates", "decay_at_update", "weight_decay"):
            _check(getattr(self, name) >= 0, name, ">= 0", getattr(self, name))
        _check(self.max_grad_norm > 0, "max_grad_norm", "> 0", self.max_grad_norm)
