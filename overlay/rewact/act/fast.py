# SPDX-License-Identifier: MIT
"""ACT's forward pass in less time: the same parameters, the same function up to rounding.

Shapes: B is the batch size, D the model dimension, S the chunk size, ES the number of encoder tokens.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_IMAGES, OBS_STATE
from rewact.act.extra_tokens import append_extra_tokens
from rewact.act.fast_backbone import image_features
from rewact.act.fast_ops import affine, attend, attend_to_equals, dropout, linear
from rewact.act.head import encode_and_read_reward


def fast_forward(model: nn.Module, batch: dict[str, Tensor], reward_only: bool = False) -> tuple:
    """What `ACT.forward` returns for the same arguments."""
    if model.config.use_vae and model.training and ACTION not in batch:
        raise ValueError("Training with the variational objective needs the actions.")
    latent, posterior = _latent(model, batch)
    tokens, pos_embed = _encoder_input(model, batch, latent)
    encoder_out, reward_logits = encode_and_read_reward(
        model, tokens, pos_embed, posterior[0], reward_only, _encode
    )
    if reward_only:
        return reward_logits
    decoded = _decode(model, encoder_out, pos_embed)
    return linear(model.action_head, decoded.transpose(0, 1)), posterior, *reward_logits


def _latent(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor | None, Tensor | None]]:
    """(B, L) latent, (1, L) where it is zero; and mean and log variance of its posterior, if it has one."""
    config = model.config
    if not (config.use_vae and model.training):
        weight = model.encoder_latent_input_proj.weight
        return weight.new_zeros(1, config.latent_dim), (None, None)
    actions = linear(model.vae_encoder_action_input_proj, batch[ACTION]).transpose(0, 1)
    tokens = [model.vae_encoder_cls_embed.weight.unsqueeze(1).expand(-1, actions.shape[1], -1)]
    if config.robot_state_feature:
        tokens.append(linear(model.vae_encoder_robot_state_input_proj, batch[OBS_STATE]).unsqueeze(0))
    is_pad = F.pad(batch["action_is_pad"], (len(tokens), 0), value=False)
    tokens = torch.cat([*tokens, actions])
    pos_embed = model.vae_encoder_pos_enc.transpose(0, 1)
    # Of the last layer's outputs only the first one is read.
    summary = _encode(model.vae_encoder, tokens, pos_embed, is_pad, only_first=True)[0]
    mu, log_sigma_x2 = linear(model.vae_encoder_latent_output_proj, summary).chunk(2, dim=1)
    return mu + log_sigma_x2.div(2).exp() * torch.randn_like(mu), (mu, log_sigma_x2)


def _encoder_input(model: nn.Module, batch: dict[str, Tensor], latent: Tensor) -> tuple[Tensor, Tensor]:
    """(ES, B, D) tokens and (ES, 1, D) positional embeddings."""
    config = model.config
    batch_size = len(batch[OBS_IMAGES][0] if OBS_IMAGES in batch else batch[OBS_ENV_STATE])
    tokens = [linear(model.encoder_latent_input_proj, latent).expand(batch_size, -1)]
    if config.robot_state_feature:
        tokens.append(linear(model.encoder_robot_state_input_proj, batch[OBS_STATE]))
    if config.env_state_feature:
        tokens.append(linear(model.encoder_env_state_input_proj, batch[OBS_ENV_STATE]))
    pos_embeds = list(model.encoder_1d_feature_pos_embed.weight.unsqueeze(1))
    append_extra_tokens(model, batch, tokens, pos_embeds)
    tokens, pos_embeds = [torch.stack(tokens)], [torch.stack(pos_embeds)]
    if config.image_features:
        of_size: dict[torch.Size, Tensor] = {}
        for features in image_features(model.backbone, batch[OBS_IMAGES]):
            if features.shape not in of_size:
                pos_embed = model.encoder_cam_feat_pos_embed(features).to(features.dtype)
                of_size[features.shape] = pos_embed.flatten(2).permute(2, 0, 1)
            # A convolution of size 1.
            projection = model.encoder_img_feat_input_proj
            pixels = features.flatten(2).permute(2, 0, 1)
            tokens.append(affine(pixels, projection.weight.flatten(1), projection.bias))
            pos_embeds.append(of_size[features.shape])
    return torch.cat(tokens), torch.cat(pos_embeds)


def _encode(
    encoder: nn.Module,
    tokens: Tensor,
    pos_embed: Tensor,
    key_padding_mask: Tensor | None = None,
    only_first: bool = False,
) -> Tensor:
    """(ES, B, D) outputs of a transformer encoder; the first one alone where only that is read."""
    for layer in encoder.layers:
        is_last = layer is encoder.layers[-1]
        tokens = _encoder_layer(layer, tokens, pos_embed, key_padding_mask, only_first and is_last)
    return encoder.norm(tokens)


def _encoder_layer(
    layer: nn.Module, x: Tensor, pos_embed: Tensor, key_padding_mask: Tensor | None, only_first: bool
) -> Tensor:
    values = layer.norm1(x) if layer.pre_norm else x
    queries = keys = values + pos_embed
    if only_first:
        x, queries = x[:1], keys[:1]
    attended = attend(layer.self_attn, queries, keys, values, key_padding_mask)
    x = _add(x, attended, layer.dropout1, layer.norm1, layer.pre_norm)
    return _add(x, _feed_forward(layer, x, layer.norm2), layer.dropout2, layer.norm2, layer.pre_norm)


def _decode(model: nn.Module, memory: Tensor, memory_pos_embed: Tensor) -> Tensor:
    """(S, B, D) outputs of the decoder, whose inputs are zeros."""
    decoder, pos_embed = model.decoder, model.decoder_pos_embed.weight.unsqueeze(1)
    batch_size, dim = memory.shape[1:]
    first, *others = decoder.layers
    keys = memory + memory_pos_embed
    zero = memory.new_zeros(1, 1, dim)
    token = first.norm1(zero) if first.pre_norm else zero
    attended = attend_to_equals(first.self_attn, pos_embed, token, batch_size)
    x = _decoder_layer(first, zero, attended, pos_embed, memory, keys)
    for layer in others:
        values = layer.norm1(x) if layer.pre_norm else x
        queries = values + pos_embed
        attended = attend(layer.self_attn, queries, queries, values)
        x = _decoder_layer(layer, x, attended, pos_embed, memory, keys)
    return decoder.norm(x)


def _decoder_layer(
    layer: nn.Module, x: Tensor, attended: Tensor, pos_embed: Tensor, memory: Tensor, keys: Tensor
) -> Tensor:
    """What a decoder layer does after its self-attention."""
    x = _add(x, attended, layer.dropout1, layer.norm1, layer.pre_norm)
    queries = (layer.norm2(x) if layer.pre_norm else x) + pos_embed
    attended = attend(layer.multihead_attn, queries, keys, memory)
    x = _add(x, attended, layer.dropout2, layer.norm2, layer.pre_norm)
    return _add(x, _feed_forward(layer, x, layer.norm3), layer.dropout3, layer.norm3, layer.pre_norm)


def _add(x: Tensor, change: Tensor, drop: nn.Dropout, norm: nn.Module, pre_norm: bool) -> Tensor:
    """A residual connection, with its norm where that comes after it."""
    x = x + dropout(change, drop.p, drop.training)
    return x if pre_norm else norm(x)


def _feed_forward(layer: nn.Module, x: Tensor, norm: nn.Module) -> Tensor:
    hidden = linear(layer.linear1, norm(x) if layer.pre_norm else x)
    p, training = layer.dropout.p, layer.dropout.training
    if layer.activation is F.relu:
        # The same in this order, and the gradient needs what the next layer keeps, and a byte an element.
        hidden = F.relu(dropout(hidden, p, training))
    else:
        hidden = dropout(layer.activation(hidden), p, training)
    return linear(layer.linear2, hidden)
