"""Telling from names and shapes which ParagonSR2 a file of weights belongs to.

About a dozen generations share the name and little else. Three families are supported; the others are
recognised, so that the answer is their name and not a list of keys.
"""

from __future__ import annotations

import math
import re

import torch

from traiNNer.archs.detectors import Guess, recognises
from traiNNer.archs.weights_file import Weights
from traiNNer.registry import ConfigError

_FIRST = "body.0.blocks.0."


def _any(weights: Weights, part: str) -> bool:
    return any(part in name for name in weights)


def _unsupported(generation: str, date: str) -> ConfigError:
    return ConfigError(f"ParagonSR2 of generation {generation} ({date}), not supported")


@recognises(lambda weights: "up.0.weight" in weights and "conv_mid.weight" in weights)
def _infer_dual(weights: Weights) -> Guess:
    if _any(weights, "gated_conv"):
        raise _unsupported("d", "ultimate, January 2026")
    if _any(weights, "mscf"):
        raise _unsupported("v8", "17 December 2025")
    block = _dual_block(weights)
    if block == "pro" and _FIRST + "norm4.scale" not in weights:
        raise _unsupported("c-atd", "Pro of 26 December 2025")
    width = weights["conv_in.weight"].shape[0]
    groups, blocks = _count_blocks(weights)
    attention = _any(weights, "attn.qkv")
    options = {
        "block": block,
        "num_feat": width,
        "num_groups": groups,
        "num_blocks": blocks,
        "scale": math.isqrt(weights["up.0.weight"].shape[0] // width),
        "attention": attention,
    }
    asks = () if block == "stream" else ("upsampler_alpha",)
    assumed = {"upsampler_alpha": 0.0} if block == "stream" else {}
    if block == "photo" and attention:
        assumed["window_size"] = 16
    if block == "pro" and attention:  # published code had 8 for a day, then 16, under the same names
        asks += ("window_size",)
    return Guess("paragonsr2_dual", options, assumed, asks, _missing_layer_scales(weights, block))


def _dual_block(weights: Weights) -> str:
    for part, block in (("token_ca", "pro"), ("attn.qkv", "photo"), ("dw3.", "stream")):
        if _any(weights, part):
            return block
    return "photo" if _FIRST + "norm.scale" in weights else "realtime"


def _missing_layer_scales(weights: Weights, block: str) -> dict[str, torch.Tensor]:
    # the generation before (c0) had none, which is the same as ones
    if block not in ("realtime", "stream"):
        return {}
    ones = torch.ones(1, weights["conv_in.weight"].shape[0], 1, 1)
    prefixes = {match[0] for name in weights if (match := re.match(r"body\.\d+\.blocks\.\d+\.", name))}
    return {f"{prefix}scale.gamma": ones for prefix in sorted(prefixes)}


@recognises(lambda weights: any(name.startswith("detail_upsampler.") for name in weights))
def _refuse_december(weights: Weights) -> Guess:
    if _any(weights, "mscf"):
        raise _unsupported("v7 or v8", "16 to 17 December 2025")
    if "global_detail_gain" in weights:
        raise _unsupported("b3", "December 2025")
    raise _unsupported("b2", "early December 2025")


@recognises(lambda weights: "upsampler_net.up_conv.weight" in weights)
def _infer_hybrid(weights: Weights) -> Guess:
    width = weights["conv_in.weight"].shape[0]
    options = {
        **_body_options(weights),
        "scale": math.isqrt(weights["upsampler_net.up_conv.weight"].shape[0] // width),
        "fast_body_mode": False,
        "use_norm": _FIRST + "norm.scale" in weights,
        "use_channel_mod": _any(weights, "transformer.channel_mod."),
        "use_content_aware": _any(weights, "content_processor."),
        "use_attention": _any(weights, "transformer.attention."),
    }
    return Guess("paragonsr2", options, asks=("upsampler_alpha",))


@recognises(lambda weights: "hr_conv_in.weight" in weights)
def _refuse_november(weights: Weights) -> Guess:
    if _any(weights, "transformer.dw_mixer."):
        raise _unsupported("static", "17 November 2025")
    if weights[_FIRST + "ls1.gamma"].ndim == 1:
        raise _unsupported("a3", "11 to 16 November 2025")
    raise _unsupported("a4", "16 to 17 November 2025")


@recognises(lambda weights: "upsampler.weight" in weights and _any(weights, "transformer.tracked_kernel"))
def _infer_magic(weights: Weights) -> Guess:
    if not _any(weights, "kernel_generator."):
        raise ConfigError(
            "ParagonSR2 of generation a, fused for release: load the file that it was made from"
        )
    return Guess("paragonsr2_magic", _body_options(weights), {"upsampler_alpha": 1.0}, ("scale",))


def _body_options(weights: Weights) -> dict[str, object]:
    # what the first and the hybrid family have in common
    width = weights["conv_in.weight"].shape[0]
    groups, blocks = _count_blocks(weights)
    branch = weights[_FIRST + "context.dwconv_w.weight"]
    return {
        "num_feat": width,
        "num_groups": groups,
        "num_blocks": blocks,
        "ffn_expansion": _ratio(weights[_FIRST + "transformer.project_in.weight"].shape[0], width),
        "square_kernel_size": weights[_FIRST + "context.dwconv_hw.weight"].shape[-1],
        "band_kernel_size": branch.shape[-1],
        "branch_ratio": _ratio(branch.shape[0], width),
    }


def _ratio(part: int, whole: int) -> float:
    # the factor r with int(whole * r) == part
    return part / whole if int(whole * (part / whole)) == part else (part + 0.5) / whole


def _count_blocks(weights: Weights) -> tuple[int, int]:
    found = [re.match(r"body\.(\d+)\.blocks\.(\d+)\.", name) for name in weights]
    places = [(int(match[1]), int(match[2])) for match in found if match]
    if not places:
        raise ConfigError("a ParagonSR2 without a body: the file is incomplete")
    return 1 + max(group for group, _ in places), 1 + max(block for _, block in places)
