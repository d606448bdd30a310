"""SAM's tensors: the official files and those of Hugging Face's SamModel.

Each table is built from short parts: (file's prefix, our prefix) for modules that have a weight
and a bias, and single tensors beside them.
"""

from collections.abc import Iterable

from anymask.weights.convert import Layout

_BOTH = ("weight", "bias")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


def pairs(names: Iterable[tuple[str, str]], kinds: Iterable[str] = _BOTH) -> dict[str, str | None]:
    """Entries for the weight and bias of modules, from (file's name, ours)."""
    ours = list(kinds)
    return {f"{theirs}.{kind}": f"{mine}.{kind}" for theirs, mine in names for kind in ours}


def two_way(theirs: str, norm: str, last_norm: str) -> dict[str, str | None]:
    """The decoder's transformer, which both layouts name alike but for the norms."""
    layer, mine = f"{theirs}.layers.{{}}", "decoder.transformer.layers.{}"
    names = [
        (f"{layer}.{a}.{p}", f"{mine}.{b}.{p}")
        for a, b in (
            ("self_attn", "self_attn"),
            ("cross_attn_token_to_image", "token_to_image"),
            ("cross_attn_image_to_token", "image_to_token"),
        )
        for p in _PROJECTIONS
    ]
    names += [(f"{layer}.{norm}{i}", f"{mine}.norm{i}") for i in (1, 2, 3, 4)]
    names += [(f"{layer}.mlp.{lin}", f"{mine}.{lin}") for lin in ("lin1", "lin2")]
    names += [
        (f"{theirs}.final_attn_token_to_image.{p}", f"decoder.transformer.final.{p}")
        for p in _PROJECTIONS
    ]
    names.append((f"{theirs}.{last_norm}", "decoder.transformer.norm"))
    return pairs(names)


def _official() -> dict[str, str | None]:
    block = "image_encoder.blocks.{}"
    ours = "encoder.blocks.{}"
    modules = [
        ("image_encoder.patch_embed.proj", "encoder.patch_embed"),
        (f"{block}.norm1", f"{ours}.norm1"),
        (f"{block}.norm2", f"{ours}.norm2"),
        (f"{block}.attn.qkv", f"{ours}.attn.qkv"),
        (f"{block}.attn.proj", f"{ours}.attn.proj"),
        (f"{block}.mlp.lin1", f"{ours}.lin1"),
        (f"{block}.mlp.lin2", f"{ours}.lin2"),
        ("image_encoder.neck.1", "encoder.neck.1"),
        ("image_encoder.neck.3", "encoder.neck.3"),
        ("prompt_encoder.mask_downscaling.{}", "prompt_encoder.mask_convs.{}"),
        ("mask_decoder.output_upscaling.0", "decoder.up1"),
        ("mask_decoder.output_upscaling.1", "decoder.up_norm"),
        ("mask_decoder.output_upscaling.3", "decoder.up2"),
        (
            "mask_decoder.output_hypernetworks_mlps.{}.layers.{}",
            "decoder.mask_mlps.{}.layers.{}",
        ),
        ("mask_decoder.iou_prediction_head.layers.{}", "decoder.score_mlp.layers.{}"),
    ]
    single: dict[str, str | None] = {
        "image_encoder.pos_embed": "encoder.pos_embed",
        f"{block}.attn.rel_pos_h": f"{ours}.attn.rel_pos_h",
        f"{block}.attn.rel_pos_w": f"{ours}.attn.rel_pos_w",
        "image_encoder.neck.0.weight": "encoder.neck.0.weight",
        "image_encoder.neck.2.weight": "encoder.neck.2.weight",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (
            "prompt_encoder.position.matrix"
        ),
        "prompt_encoder.point_embeddings.{}.weight": "prompt_encoder.kinds.{}",
        "prompt_encoder.not_a_point_embed.weight": "prompt_encoder.padding",
        "prompt_encoder.no_mask_embed.weight": "prompt_encoder.no_mask",
        "mask_decoder.iou_token.weight": "decoder.score_token",
        "mask_decoder.mask_tokens.weight": "decoder.mask_tokens",
        "pixel_mean": None,  # constants of the row
        "pixel_std": None,
    }
    transformer = two_way("mask_decoder.transformer", "norm", "norm_final_attn")
    return pairs(modules) | single | transformer


def _hugging_face() -> dict[str, str | None]:
    block = "vision_encoder.layers.{}"
    ours = "encoder.blocks.{}"
    modules = [
        ("vision_encoder.patch_embed.projection", "encoder.patch_embed"),
        (f"{block}.layer_norm1", f"{ours}.norm1"),
        (f"{block}.layer_norm2", f"{ours}.norm2"),
        (f"{block}.attn.qkv", f"{ours}.attn.qkv"),
        (f"{block}.attn.proj", f"{ours}.attn.proj"),
        (f"{block}.mlp.lin1", f"{ours}.lin1"),
        (f"{block}.mlp.lin2", f"{ours}.lin2"),
        ("vision_encoder.neck.layer_norm1", "encoder.neck.1"),
        ("vision_encoder.neck.layer_norm2", "encoder.neck.3"),
        ("prompt_encoder.mask_embed.conv1", "prompt_encoder.mask_convs.0"),
        ("prompt_encoder.mask_embed.layer_norm1", "prompt_encoder.mask_convs.1"),
        ("prompt_encoder.mask_embed.conv2", "prompt_encoder.mask_convs.3"),
        ("prompt_encoder.mask_embed.layer_norm2", "prompt_encoder.mask_convs.4"),
        ("prompt_encoder.mask_embed.conv3", "prompt_encoder.mask_convs.6"),
        ("mask_decoder.upscale_conv1", "decoder.up1"),
        ("mask_decoder.upscale_layer_norm", "decoder.up_norm"),
        ("mask_decoder.upscale_conv2", "decoder.up2"),
    ]
    for theirs, mine in (
        ("mask_decoder.output_hypernetworks_mlps.{}", "decoder.mask_mlps.{}"),
        ("mask_decoder.iou_prediction_head", "decoder.score_mlp"),
    ):
        modules += [
            (f"{theirs}.proj_in", f"{mine}.layers.0"),
            (f"{theirs}.layers.0", f"{mine}.layers.1"),
            (f"{theirs}.proj_out", f"{mine}.layers.2"),
        ]
    single: dict[str, str | None] = {
        "vision_encoder.pos_embed": "encoder.pos_embed",
        f"{block}.attn.rel_pos_h": f"{ours}.attn.rel_pos_h",
        f"{block}.attn.rel_pos_w": f"{ours}.attn.rel_pos_w",
        "vision_encoder.neck.conv1.weight": "encoder.neck.0.weight",
        "vision_encoder.neck.conv2.weight": "encoder.neck.2.weight",
        "shared_image_embedding.positional_embedding": "prompt_encoder.position.matrix",
        "prompt_encoder.shared_embedding.positional_embedding": (  # the same tensor again
            "prompt_encoder.position.matrix"
        ),
        "prompt_encoder.point_embed.{}.weight": "prompt_encoder.kinds.{}",
        "prompt_encoder.not_a_point_embed.weight": "prompt_encoder.padding",
        "prompt_encoder.no_mask_embed.weight": "prompt_encoder.no_mask",
        "mask_decoder.iou_token.weight": "decoder.score_token",
        "mask_decoder.mask_tokens.weight": "decoder.mask_tokens",
    }
    transformer = two_way("mask_decoder.transformer", "layer_norm", "layer_norm_final_attn")
    return pairs(modules) | single | transformer


OFFICIAL = Layout(name="official", table=_official())
HUGGING_FACE = Layout(name="Hugging Face", table=_hugging_face())
LAYOUTS = (OFFICIAL, HUGGING_FACE)
