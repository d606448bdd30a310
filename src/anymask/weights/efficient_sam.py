"""EfficientSAM's tensors: names in official files (``{"model": ...}``) to ours."""

from anymask.weights.convert import Layout
from anymask.weights.sam import pairs

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


def _two_way() -> list[tuple[str, str]]:
    theirs, ours = "mask_decoder.transformer", "decoder.transformer"
    layer, mine = f"{theirs}.layers.{{}}", f"{ours}.layers.{{}}"
    attentions = [
        (f"{layer}.self_attn", f"{mine}.self_attn"),
        (f"{layer}.cross_attn_token_to_image", f"{mine}.token_to_image"),
        (f"{layer}.cross_attn_image_to_token", f"{mine}.image_to_token"),
        (f"{theirs}.final_attn_token_to_image", f"{ours}.final"),
    ]
    return [
        *((f"{a}.{p}", f"{b}.{p}") for a, b in attentions for p in _PROJECTIONS),
        *((f"{layer}.norm{i}", f"{mine}.norm{i}") for i in (1, 2, 3, 4)),
        (f"{layer}.mlp.layers.0.0", f"{mine}.lin1"),
        (f"{layer}.mlp.fc", f"{mine}.lin2"),
        (f"{theirs}.norm_final_attn", f"{ours}.norm"),
    ]


def _official() -> dict[str, str | None]:
    block, ours = "image_encoder.blocks.{}", "encoder.blocks.{}"
    up = "mask_decoder.final_output_upscaling_layers"
    vectors, scores = (
        "mask_decoder.output_hypernetworks_mlps.{}",
        "mask_decoder.iou_prediction_head",
    )
    modules = [
        ("image_encoder.patch_embed.proj", "encoder.patch_embed"),
        (f"{block}.norm1", f"{ours}.norm1"),
        (f"{block}.attn.qkv", f"{ours}.attn.qkv"),
        (f"{block}.attn.proj", f"{ours}.attn.proj"),
        (f"{block}.norm2", f"{ours}.norm2"),
        (f"{block}.mlp.fc1", f"{ours}.lin1"),
        (f"{block}.mlp.fc2", f"{ours}.lin2"),
        ("image_encoder.neck.1", "encoder.neck.1"),
        ("image_encoder.neck.3", "encoder.neck.3"),
        (f"{up}.0.0", "decoder.up1"),
        (f"{up}.0.1", "decoder.up_norm"),
        (f"{up}.1.0", "decoder.up2"),
        (f"{vectors}.layers.{{}}.0", "decoder.mask_mlps.{}.layers.{}"),
        (f"{vectors}.fc", "decoder.mask_mlps.{}.layers.2"),
        (f"{scores}.layers.{{}}.0", "decoder.score_mlp.layers.{}"),
        (f"{scores}.fc", "decoder.score_mlp.layers.2"),
    ]
    prompts, codes = "prompt_encoder", "pe_layer.positional_encoding_gaussian_matrix"
    single: dict[str, str | None] = {
        "image_encoder.pos_embed": "encoder.pos_embed",
        "image_encoder.neck.0.weight": "encoder.neck.0.weight",
        "image_encoder.neck.2.weight": "encoder.neck.2.weight",
        f"{prompts}.{codes}": f"{prompts}.position.matrix",
        f"{prompts}.invalid_points.weight": f"{prompts}.padding",
        f"{prompts}.point_embeddings.weight": f"{prompts}.kinds.0",
        f"{prompts}.bbox_top_left_embeddings.weight": f"{prompts}.kinds.1",
        f"{prompts}.bbox_bottom_right_embeddings.weight": f"{prompts}.kinds.2",
        "mask_decoder.iou_token.weight": "decoder.score_token",
        "mask_decoder.mask_tokens.weight": "decoder.mask_tokens",
    }
    return pairs(modules) | single | pairs(_two_way())


OFFICIAL = Layout(name="official", table=_official())
LAYOUTS = (OFFICIAL,)
