"""SAM 2's and EdgeTAM's tensors as Hugging Face names them.

The published files are those of the video models, with all tensors; what `Sam2Model` and
`EdgeTamModel` save are those for images.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from anymask.weights import edgetam
from anymask.weights.convert import Layout
from anymask.weights.sam import pairs
from anymask.weights.sam2 import Table, neck

_PROJECTIONS = (("q_proj", "q_proj"), ("k_proj", "k_proj"), ("v_proj", "v_proj"))
_ATTENTION = (*_PROJECTIONS, ("o_proj", "out_proj"))
_KINDS = "prompt_encoder.kinds"
_MIX = "memory.perceiver.layers.{}"


def _mlp(theirs: str, ours: str) -> list[tuple[str, str]]:
    """Three linear layers."""
    parts = (("proj_in", 0), ("layers.0", 1), ("proj_out", 2))
    return [(f"{theirs}.{part}", f"{ours}.layers.{i}") for part, i in parts]


def _decoder() -> Table:
    theirs, ours = "mask_decoder.transformer", "decoder.transformer"
    layer, own = f"{theirs}.layers.{{}}", f"{ours}.layers.{{}}"
    attentions = (
        (f"{layer}.self_attn", f"{own}.self_attn"),
        (f"{layer}.cross_attn_token_to_image", f"{own}.token_to_image"),
        (f"{layer}.cross_attn_image_to_token", f"{own}.image_to_token"),
        (f"{theirs}.final_attn_token_to_image", f"{ours}.final"),
    )
    modules = [(f"{a}.{p}", f"{b}.{q}") for a, b in attentions for p, q in _ATTENTION]
    modules += [
        *((f"{layer}.layer_norm{i}", f"{own}.norm{i}") for i in (1, 2, 3, 4)),
        (f"{layer}.mlp.proj_in", f"{own}.lin1"),
        (f"{layer}.mlp.proj_out", f"{own}.lin2"),
        (f"{theirs}.layer_norm_final_attn", f"{ours}.norm"),
        ("mask_decoder.upscale_conv1", "decoder.up1"),
        ("mask_decoder.upscale_layer_norm", "decoder.up_norm"),
        ("mask_decoder.upscale_conv2", "decoder.up2"),
        *((f"mask_decoder.conv_s{i}", f"encoder.neck.fine.{i}") for i in (0, 1)),
        *_mlp("mask_decoder.output_hypernetworks_mlps.{}", "decoder.mask_mlps.{}"),
        *_mlp("mask_decoder.iou_prediction_head", "decoder.score_mlp"),
        *_mlp("mask_decoder.pred_obj_score_head", "decoder.object_mlp"),
    ]
    return pairs(modules) | {
        "mask_decoder.iou_token.weight": "decoder.score_token",
        "mask_decoder.mask_tokens.weight": "decoder.mask_tokens",
        "mask_decoder.obj_score_token.weight": "decoder.object_token",
    }


def _prompts() -> Table:
    embed = "prompt_encoder.mask_embed"
    modules = [(f"{embed}.conv{i + 1}", f"prompt_encoder.mask_convs.{3 * i}") for i in range(3)]
    modules += [
        (f"{embed}.layer_norm{i + 1}", f"prompt_encoder.mask_convs.{3 * i + 1}") for i in (0, 1)
    ]
    position = "prompt_encoder.position.matrix"
    return pairs(modules) | {
        "no_memory_embedding": "no_memory",
        "shared_image_embedding.positional_embedding": position,
        "prompt_encoder.shared_embedding.positional_embedding": position,  # the same tensor again
        "prompt_encoder.point_embed.weight": _KINDS,
        "prompt_encoder.not_a_point_embed.weight": "prompt_encoder.padding",
        "prompt_encoder.no_mask_embed.weight": "prompt_encoder.no_mask",
    }


def _trunk() -> Table:
    theirs, ours = "vision_encoder.backbone.blocks.{}", "encoder.trunk.blocks.{}"
    names = (
        ("layer_norm1", "norm1"),
        ("layer_norm2", "norm2"),
        ("attn.qkv", "attn.qkv"),
        ("attn.proj", "attn.proj"),
        ("mlp.proj_in", "lin1"),
        ("mlp.proj_out", "lin2"),
        ("proj", "proj"),
    )
    modules = [(f"{theirs}.{a}", f"{ours}.{b}") for a, b in names]
    modules.append(("vision_encoder.backbone.patch_embed.projection", "encoder.trunk.patch_embed"))
    return pairs(modules) | {
        "vision_encoder.backbone.pos_embed": "encoder.trunk.pos_embed",
        "vision_encoder.backbone.pos_embed_window": "encoder.trunk.pos_window",
    }


def _memory(lin1: str, lin2: str) -> Table:
    layer, ours = "memory_attention.layers.{}", "memory.attention.layers.{}"
    down, mixer = "memory_encoder.mask_downsampler", "memory_encoder.memory_fuser.layers.{}"
    attentions = (("self_attn", "self_attn"), ("cross_attn_image", "cross_attn"))
    modules = [
        *((f"{layer}.{a}.{p}", f"{ours}.{b}.{q}") for a, b in attentions for p, q in _ATTENTION),
        (f"{layer}.{lin1}", f"{ours}.lin1"),
        (f"{layer}.{lin2}", f"{ours}.lin2"),
        *((f"{layer}.layer_norm{i}", f"{ours}.norm{i}") for i in (1, 2, 3)),
        ("memory_attention.layer_norm", "memory.attention.norm"),
        (f"{down}.layers.{{}}.conv", "memory.encoder.mask_convs.{}"),
        (f"{down}.layers.{{}}.layer_norm", "memory.encoder.mask_norms.{}"),
        (f"{down}.final_conv", "memory.encoder.mask_out"),
        ("memory_encoder.feature_projection", "memory.encoder.frame"),
        (f"{mixer}.depthwise_conv", "memory.encoder.mixers.{}.conv"),
        (f"{mixer}.layer_norm", "memory.encoder.mixers.{}.norm"),
        *((f"{mixer}.pointwise_conv{i}", f"memory.encoder.mixers.{{}}.lin{i}") for i in (1, 2)),
        ("memory_encoder.projection", "memory.encoder.out"),
        ("mask_downsample", "memory.mask_down"),
        *_mlp("object_pointer_proj", "memory.pointer"),
        ("temporal_positional_encoding_projection_layer", "memory.pointer_time"),
    ]
    return pairs(modules) | {
        "memory_temporal_positional_encoding": "memory.times",
        "no_memory_positional_encoding": "memory.no_position",
        "no_object_pointer": "memory.no_pointer",
        "occlusion_spatial_embedding_parameter": "memory.absent",
        f"{mixer}.scale": "memory.encoder.mixers.{}.scale",
    }


def _perceiver() -> Table:
    layer, ours = "spatial_perceiver.layers.{}", _MIX
    norms = [
        (f"{layer}.layer_norm_input", f"{ours}.attn.norm_seen"),
        (f"{layer}.layer_norm_latents", f"{ours}.attn.norm"),
        (f"{layer}.layer_norm_self", f"{ours}.self_attn.norm"),
        ("spatial_perceiver.layer_norm", "memory.perceiver.norm"),
    ]
    plain = []
    attentions = (("cross_attention", "attn"), ("self_attention", "self_attn"))
    for theirs, mine in attentions:
        parts = (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("o_proj", "out"))
        plain += [(f"{layer}.{theirs}.{a}", f"{ours}.{mine}.{b}") for a, b in parts]
    for name in ("mlp", "self_mlp"):
        norms.append((f"{layer}.{name}.layer_norm", f"{ours}.{name}.norm"))
        plain.append((f"{layer}.{name}.up_proj", f"{ours}.{name}.lin1"))
        plain.append((f"{layer}.{name}.down_proj", f"{ours}.{name}.lin2"))
    return pairs(norms) | pairs(plain, ("weight",)) | {
        "spatial_perceiver.latents_1d": "memory.perceiver.latents",
        "spatial_perceiver.latents_2d": "memory.perceiver.latents_2d",
    }  # fmt: skip


def split_kinds(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The vectors of all kinds of points, one tensor there, one each here."""
    out = dict(state)
    if _KINDS in out:
        kinds = out.pop(_KINDS)
        out |= {f"{_KINDS}.{i}": row[None] for i, row in enumerate(kinds)}
    return out


def join_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Keys and values of the perceiver, two linear layers there, one here; and the trunk merged."""
    out = edgetam.merge(split_kinds(state))
    for name in list(out):
        both = name.replace(".k.weight", ".v.weight")
        if name.startswith(_MIX.split("{")[0]) and name != both and both in out:
            keys, values = out.pop(name), out.pop(both)
            out[name.replace(".k.weight", ".kv.weight")] = torch.cat([keys, values])
    return out


_SHARED = neck("vision_encoder.neck.convs.{}") | _prompts() | _decoder()
SAM2 = Layout(
    name="Hugging Face",
    table=_trunk() | _SHARED | _memory("linear1", "linear2"),
    finish=split_kinds,
)
EDGETAM = Layout(
    name="Hugging Face",
    table=edgetam.trunk("vision_encoder.backbone.timm_model")
    | _SHARED
    | _memory("mlp.up_proj", "mlp.down_proj")
    | _perceiver(),
    finish=join_keys,
)
