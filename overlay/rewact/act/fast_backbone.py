# SPDX-License-Identifier: MIT
"""ACT's ResNet in the fast path: channels last where that gains time, and norms in place."""

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock
from torchvision.ops.misc import FrozenBatchNorm2d

# Elsewhere (MPS) the layout is not known to be right.
_CHANNELS_LAST_DEVICES = ("cpu", "cuda")


def image_features(backbone: nn.Module, images: list[Tensor]) -> list[Tensor]:
    """The (B, C, h, w) feature maps of the cameras' (B, 3, H, W) images."""
    if len({image.shape for image in images}) > 1:
        return [_run(backbone, image) for image in images]
    together = torch.cat(images) if len(images) > 1 else images[0]
    return list(_run(backbone, together).chunk(len(images)))


def _run(backbone: nn.Module, x: Tensor) -> Tensor:
    if x.device.type in _CHANNELS_LAST_DEVICES:
        x = x.contiguous(memory_format=torch.channels_last)
    x = F.relu(_convolve(backbone.conv1, backbone.bn1, x), inplace=True)
    x = backbone.maxpool(x)
    for layer in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
        if layer is backbone.layer3 and x.device.type == "cpu":
            # From here on the weights outweigh what they compute: to lay them out at each call takes longer.
            x = x.contiguous()
        for block in layer:
            x = _run_block(block, x)
    return x


def _run_block(block: nn.Module, x: Tensor) -> Tensor:
    out = F.relu(_convolve(block.conv1, block.bn1, x), inplace=True)
    out = _convolve(block.conv2, block.bn2, out)
    if not isinstance(block, BasicBlock):  # a bottleneck
        out = _convolve(block.conv3, block.bn3, F.relu(out, inplace=True))
    if block.downsample is not None:
        x = _convolve(*block.downsample, x)
    return F.relu(out.add_(x), inplace=True)


def _convolve(conv: nn.Module, norm: nn.Module, x: Tensor) -> Tensor:
    """A convolution and its norm, in place where that changes no value."""
    x = conv(x)
    if not isinstance(norm, FrozenBatchNorm2d) or x.dtype != norm.weight.dtype:
        return norm(x)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    return x.mul_(scale[:, None, None]).add_(shift[:, None, None])


def fuse_norms(module: nn.Module) -> None:
    """Make each frozen batch norm of a ResNet part of the convolution before it, for good."""
    children = list(module.named_children())
    for (conv_name, conv), (norm_name, norm) in pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, FrozenBatchNorm2d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())
    for _, child in children:
        fuse_norms(child)
