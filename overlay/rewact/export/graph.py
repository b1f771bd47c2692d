# SPDX-License-Identifier: MIT
"""A trained ACT as one function from what a robot measures to what it is told, for inference alone.

Shapes: B is the batch size, S the number of encoder tokens, D the model dimension, T the number of steps that
the reward head speaks about (1, or `chunk_size` with the forecast).
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from lerobot.utils.constants import OBS_ENV_STATE, OBS_STATE
from rewact.act.extra_tokens import make_condition
from rewact.act.fast_backbone import fuse_norms
from rewact.export.layers import CrossAttention, DecoderLayer, EncoderLayer, linear
from rewact.keys import ADVANTAGE_KEY


class PolicyGraph(nn.Module):
    """The inference of `ACTPolicy` or a descendant, with its processors.

    What no observation changes is computed when it is made: positional embeddings, the latent, the advantage,
    the first self-attention of the decoder. Frozen batch norms are part of their convolutions, and guidance
    runs the backbone once.

    Args:
        policy: The policy, on the CPU. Later changes of it change nothing here.
        normalizer: The step of its preprocessor that normalises observations.
        unnormalizer: The step of its postprocessor that undoes the normalisation of actions.

    Attributes:
        inputs: The policy's names of the observations, in the order of `forward`.
        n_reward_steps: T, 0 without a reward head.
    """

    def __init__(self, policy: nn.Module, normalizer: Any, unnormalizer: Any):
        super().__init__()
        config = policy.config
        self.config = config
        self.inputs = list(config.input_features)
        self.n_reward_steps = (config.reward_label_horizon or 1) if config.use_reward_head else 0
        self.guidance = getattr(config, "cfg_beta", 1.0)
        self.normalizer, self.unnormalizer = normalizer, unnormalizer
        self.model = model = deepcopy(policy.model).requires_grad_(False).eval()
        if config.image_features:
            fuse_norms(model.backbone)
        with torch.no_grad():
            self._prepare_tokens()
            self._prepare_layers()

    def _prepare_tokens(self) -> None:
        """Constant tokens, and the positional embeddings of all in their order."""
        model, config = self.model, self.config
        self.register_buffer("latent", model.encoder_latent_input_proj(torch.zeros(1, 1, config.latent_dim)))
        condition = neutral = torch.zeros(1, 0, config.dim_model)
        positions = [model.encoder_1d_feature_pos_embed.weight]
        if model.extra_tokens is not None:
            wanted = make_condition(config.inference_advantage, batch_size=1, device="cpu")
            tokens, places = zip(*model.extra_tokens({ADVANTAGE_KEY: wanted}, batch_size=1), strict=True)
            condition, neutral = (torch.stack([*t], 1) for t in (tokens, model.extra_tokens.neutral(1)))
            positions += places
        self.register_buffer("condition", condition)
        self.register_buffer("neutral", neutral)
        n_1d = len(model.encoder_1d_feature_pos_embed.weight)
        n_extra = condition.shape[1]
        for feature in config.image_features.values():
            features = model.backbone(torch.zeros(1, *feature.shape))["feature_map"]
            positions.append(model.encoder_cam_feat_pos_embed(features).flatten(2)[0].T)
        self.position = torch.cat(positions)
        self.observed_position = torch.cat([self.position[1:n_1d], self.position[n_1d + n_extra :]])

    def _prepare_layers(self) -> None:
        model, config = self.model, self.config
        self.encoder = nn.ModuleList(EncoderLayer(layer, self.position) for layer in model.encoder.layers)
        self.decoder = nn.ModuleList(
            DecoderLayer(layer, model.decoder_pos_embed.weight, self.position, is_first=i == 0)
            for i, layer in enumerate(model.decoder.layers)
        )
        self.pooling = None
        if self.n_reward_steps and model.reward_head.pooling is not None:
            source, position = model.reward_head.pooling, self.observed_position
            self.pooling = CrossAttention(source.attention, torch.zeros(1, config.dim_model), position)
            self.register_buffer("pooling_query", self.pooling.project_query(source.query.weight[None])[0])

    def forward(self, *observation: Tensor) -> tuple[Tensor, ...]:
        """Act on a raw observation, the float32 tensors named in `inputs`.

        Returns:
            (B, chunk_size, action_dim) actions as the robot takes them and, with a reward head, (B, T)
            rewards in [0, 1].
        """
        batch = dict(zip(self.inputs, observation, strict=True))
        states, images = self._observed_tokens(self.normalizer._normalize_observation(batch, inverse=False))
        batch_size = observation[0].shape[0]
        tokens = self._encoder_tokens(states, self.condition, images)
        if self.guidance != 1.0:
            tokens = torch.cat([tokens, self._encoder_tokens(states, self.neutral, images)])
        decoded = self._decode(tokens)
        actions = linear(decoded, self.model.action_head.weight, self.model.action_head.bias)
        if self.guidance != 1.0:
            conditional, unconditional = actions[:batch_size], actions[batch_size:]
            actions = unconditional + self.guidance * (conditional - unconditional)
        actions = self.unnormalizer._normalize_action(actions, inverse=True)
        if not self.n_reward_steps:
            return (actions,)
        head = self.model.reward_head
        if self.pooling is not None:
            token = self._pool(torch.cat([*states, *images], dim=1))
        elif self.guidance != 1.0:
            token = decoded[batch_size:, 0]  # of the unconditional ones
        elif self.neutral.shape[1]:
            token = self._decode(self._encoder_tokens(states, self.neutral, images))[:, 0]
        else:
            token = decoded[:, 0]
        return actions, head.mean(head(token))

    def _observed_tokens(self, batch: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """(B, 1, D) tokens of the states, and (B, h w, D) tokens of each camera."""
        model, config = self.model, self.config
        states, images = [], []
        if config.robot_state_feature:
            states.append(model.encoder_robot_state_input_proj(batch[OBS_STATE]).unsqueeze(1))
        if config.env_state_feature:
            states.append(model.encoder_env_state_input_proj(batch[OBS_ENV_STATE]).unsqueeze(1))
        for name in config.image_features:
            features = model.encoder_img_feat_input_proj(model.backbone(batch[name])["feature_map"])
            images.append(features.flatten(2).transpose(1, 2))
        return states, images

    def _encoder_tokens(self, states: list[Tensor], extra: Tensor, images: list[Tensor]) -> Tensor:
        """(B, S, D) of the observation's tokens and (1, n, D) extra ones."""
        batch_size = (states or images)[0].shape[0]
        latent, extra = (constant.expand(batch_size, -1, -1) for constant in (self.latent, extra))
        return torch.cat([latent, *states, extra, *images], dim=1)

    def _decode(self, tokens: Tensor) -> Tensor:
        """(B, chunk_size, D) for the (B, S, D) tokens that the encoder is given."""
        for layer in self.encoder:
            tokens = layer(tokens)
        memory = self.model.encoder.norm(tokens)
        decoded = None
        for layer in self.decoder:
            decoded = layer(decoded, memory)
        return self.model.decoder.norm(decoded)

    def _pool(self, observed: Tensor) -> Tensor:
        """(B, D) of (B, S, D) tokens of the observation: `ObservationPooling`."""
        source = self.model.reward_head.pooling
        pooled = source.query.weight + self.pooling(self.pooling_query, source.norm(observed))
        return source.out_norm(pooled + source.feed_forward(pooled))[:, 0]
