# SPDX-License-Identifier: MIT
"""Operations of ACT's fast path: what torch's own compute, from the same parameters, in less time."""

import functools
import platform
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Dropout is drawn from 16 random bits an element.
_N_DRAWS = 1 << 16


def is_stock(network: nn.Module) -> bool:
    """Whether the parameters of a network say all about it: no module of it is wrapped, replaced or hooked,
    as by an adapter, a sharded or a quantised layer."""
    modules = list(network.modules())
    return [type(module) for module in modules] == network.module_types and not any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks for module in modules[1:]
    )


def linear(module: nn.Module, x: Tensor) -> Tensor:
    """A linear layer, (..., in) to (..., out)."""
    return affine(x, module.weight, module.bias)


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(..., in) to (..., out), as `F.linear`."""
    if not _suits_onednn(x, weight):
        return F.linear(x, weight, bias)
    return _OneDNNLinear.apply(x.flatten(0, -2), weight, bias).unflatten(0, x.shape[:-1])


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout of any tensor. Its draws are not those of `nn.Dropout`, its probability is within 1e-5."""
    threshold = round(p * _N_DRAWS)
    if not training or threshold == 0:
        return x
    if x.device.type != "cpu" or threshold == _N_DRAWS or _is_traced():
        return F.dropout(x, p, training)
    # Torch draws one number an element, which takes four times as long as these 64 bits for four.
    n_draws = x.numel()
    draws = torch.empty(-(-n_draws // 4), dtype=torch.int64).random_(-(2**63), None)
    is_kept = draws.view(torch.int16)[:n_draws].view(x.shape) >= threshold - _N_DRAWS // 2
    # What is kept for the gradient is a byte an element.
    return (x * is_kept).mul_(_N_DRAWS / (_N_DRAWS - threshold))


def attend(
    attention: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None = None,
) -> Tensor:
    """What multi-head attention returns, without the weights that nobody reads.

    Args:
        attention: An `nn.MultiheadAttention` with biases, as ACT's.
        query: (S, B, D), or (S, 1, D) where it is the same for all samples.
        key: (T, B, D). The same tensor as `query` saves a product.
        value: (T, B, D).
        key_padding_mask: Optional (B, T) bool tensor, true where a key must not be attended to.

    Returns:
        (S, B, D) outputs.
    """
    dim = attention.embed_dim
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if query is key:
        q, k = affine(query, weight[: 2 * dim], bias[: 2 * dim]).chunk(2, dim=-1)
    else:
        q = affine(query, weight[:dim], bias[:dim])
        k = affine(key, weight[dim : 2 * dim], bias[dim : 2 * dim])
    v = affine(value, weight[2 * dim :], bias[2 * dim :])
    q, k, v = (_split_heads(each, attention.num_heads) for each in (q, k, v))
    q = q.expand(len(v), -1, -1, -1)
    is_seen = None if key_padding_mask is None else ~key_padding_mask[:, None, None]
    if attention.training and attention.dropout > 0:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if is_seen is not None:
            scores = scores.masked_fill(~is_seen, -torch.inf)
        out = dropout(scores.softmax(-1), attention.dropout, training=True) @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=is_seen)
    return _project(attention, out)


def attend_to_equals(attention: nn.Module, position: Tensor, token: Tensor, batch_size: int) -> Tensor:
    """Self-attention among equal tokens that differ by their positions alone.

    Their values are equal too, so the weights matter only as far as dropout changes their sum. Takes
    (S, 1, D) positional embeddings and the (1, 1, D) token, and returns (S, B, D) outputs, or (1, 1, D) where
    they are all the same.
    """
    dim = attention.embed_dim
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    value = affine(token, weight[2 * dim :], bias[2 * dim :])
    if not attention.training:
        return affine(value, attention.out_proj.weight, attention.out_proj.bias)
    # In training the weights stay in the graph even without dropout: distributed training waits for the
    # gradient of each parameter.
    q, k = affine(token + position, weight[: 2 * dim], bias[: 2 * dim]).chunk(2, dim=-1)
    q, k, value = (_split_heads(each, attention.num_heads) for each in (q, k, value))
    attended = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1)
    attended = dropout(attended.expand(batch_size, -1, -1, -1), attention.dropout, training=True)
    return _project(attention, attended.sum(-1, keepdim=True) * value)


def _split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(S, B, D) to (B, heads, S, D / heads)."""
    return x.unflatten(-1, (n_heads, -1)).permute(1, 2, 0, 3)


def _project(attention: nn.MultiheadAttention, out: Tensor) -> Tensor:
    """(B, heads, S, D / heads) outputs of the heads to (S, B, D)."""
    return affine(out.permute(2, 0, 1, 3).flatten(2), attention.out_proj.weight, attention.out_proj.bias)


def _is_traced() -> bool:
    """Whether a compiler or an exporter looks on, which brings kernels of its own."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    if _is_traced() or not _onednn_is_faster():
        return False
    is_float32_on_cpu = all(each.device.type == "cpu" and each.dtype == torch.float32 for each in (x, weight))
    return is_float32_on_cpu and x.ndim > 1 and x.numel() > 0 and not torch.is_autocast_enabled("cpu")


@functools.cache
def _onednn_is_faster() -> bool:
    """Whether oneDNN's products beat MKL's, which torch uses: MKL has AVX-512 on Intel's processors alone."""
    has_both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    has_op = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4)
    return has_both and has_op and "AVX512" in torch.backends.cpu.get_cpu_capability() and not _is_intel()


def _is_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return "GenuineIntel" in platform.processor()


class _OneDNNLinear(torch.autograd.Function):
    """(N, in) to (N, out), by the operator that torch's compiler uses."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _multiply(grad, weight.t()) if needs_x else None,
            _multiply(grad.t(), x.t()) if needs_weight else None,
            grad.sum(0) if needs_bias else None,
        )


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
