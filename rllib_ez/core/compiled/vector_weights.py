"""The vector network's weights as its compiled code reads them.

Axes: D hidden_size, M lstm_size, A actions, S bins, P panels of PANEL columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rllib_ez.core.compiled.layers import (
    Array,
    Bins,
    Layer,
    Linear,
    Norm,
    bins_of,
    numbers,
    pack_layer,
    pack_linear,
    pack_module,
    pack_norm,
)
from rllib_ez.core.compiled.recurrent import Lstm, pack_lstm
from rllib_ez.core.networks import EfficientZeroModel
from rllib_ez.core.networks.vector import VectorPrediction, VectorTrunk
from rllib_ez.core.scalar_transform import Support
from rllib_ez.errors import SettingError


class Encoder(NamedTuple):
    """Observation to latent."""

    scale: Array  # [inputs] f32, factor of each entry; [0]: symlog
    first: Layer
    second: Layer  # without a ReLU


class Transition(NamedTuple):
    """Latent and action to the next latent."""

    action: Array  # [A, P * PANEL] f32, the first layer's bias after each action
    weight: Array  # [P, D, PANEL] f32, the first layer's
    first_norm: Norm
    second: Linear
    norm: Norm  # of latent + change


class Prefix(NamedTuple):
    """Latents in order to the rewards summed so far."""

    lstm: Lstm
    norm: Norm
    hidden: Layer
    output: Linear
    bins: Bins


class Prediction(NamedTuple):
    """Latent to value and policy."""

    trunk: Layer
    heads: Linear  # to S + A: value logits, then policy logits
    bins: Bins
    num_actions: int


class VectorNet(NamedTuple):
    """All weights, as compiled code reads them."""

    encoder: Encoder
    transition: Transition
    prefix: Prefix
    prediction: Prediction


def pack_network(network: EfficientZeroModel) -> VectorNet:
    """Copies a vector network's weights; later training does not reach the copy.

    Raises:
        SettingError: the network is not of the kind "vector".
    """
    trunk, prediction = network.trunk, network.prediction
    if not isinstance(trunk, VectorTrunk) or not isinstance(prediction, VectorPrediction):
        raise SettingError(
            f"network must be 'vector' to be compiled as one, got {network.config.network!r}"
        )
    return VectorNet(
        _pack_encoder(trunk, network.config.frame_stack),
        _pack_transition(trunk),
        _pack_prefix(network),
        _pack_prediction(prediction, network.value_support),
    )


def _pack_encoder(trunk: VectorTrunk, frame_stack: int) -> Encoder:
    scale = np.zeros(0, np.float32)
    if trunk.observation_scale is not None:
        scale = np.tile(numbers(trunk.observation_scale), frame_stack)
    first, first_norm, _, second, second_norm = trunk.encoder
    return Encoder(scale, pack_layer(first, first_norm), pack_layer(second, second_norm))


def _pack_transition(trunk: VectorTrunk) -> Transition:
    first, first_norm, _, second = trunk.step
    whole, size = numbers(first.weight).T, trunk.feature_size
    linear = pack_linear(whole[:size], numbers(first.bias))
    action = np.tile(linear.bias, (trunk.num_actions, 1))
    action[:, :size] += whole[size:]
    return Transition(
        action,
        linear.weight,
        pack_norm(first_norm),
        pack_module(second),
        pack_norm(trunk.step_norm),
    )


def _pack_prefix(network: EfficientZeroModel) -> Prefix:
    lstm, support = network.lstm, network.value_prefix_support
    return Prefix(
        pack_lstm(lstm, np.arange(lstm.input_size)),
        pack_norm(network.prefix_norm),
        pack_layer(network.prefix_hidden[0], network.prefix_hidden[1]),
        pack_module(network.prefix_output),
        bins_of(support),
    )


def _pack_prediction(prediction: VectorPrediction, support: Support) -> Prediction:
    value, policy = prediction.value, prediction.policy
    weight = np.concatenate((numbers(value.weight), numbers(policy.weight))).T
    bias = np.concatenate((numbers(value.bias), numbers(policy.bias)))
    trunk = pack_layer(prediction.trunk[0], prediction.trunk[1])
    return Prediction(trunk, pack_linear(weight, bias), bins_of(support), policy.out_features)
