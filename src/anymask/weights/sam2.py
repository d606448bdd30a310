"""SAM 2's tensors: the official files (``{"model": ...}``).

They hold the memory for videos beside what images need. The parts that SAM 2 shares with SAM have
the names of SAM's table behind other prefixes.
"""

from anymask.weights import sam
from anymask.weights.convert import Layout
from anymask.weights.sam import pairs

Table = dict[str, str | None]

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


def prompt_side() -> Table:
    """The official names of prompt encoder and mask decoder: SAM's, and what SAM 2 adds."""
    table: Table = {}
    for name, ours in sam.OFFICIAL.table.items():
        if name.startswith(("prompt_encoder.", "mask_decoder.")):
            official = name.replace(".mlp.lin1.", ".mlp.layers.0.")
            table[f"sam_{official.replace('.mlp.lin2.', '.mlp.layers.1.')}"] = ours
    table["sam_mask_decoder.obj_score_token.weight"] = "decoder.object_token"
    return table | pairs(
        [
            ("sam_mask_decoder.pred_obj_score_head.layers.{}", "decoder.object_mlp.layers.{}"),
            ("sam_mask_decoder.conv_s0", "encoder.neck.fine.0"),
            ("sam_mask_decoder.conv_s1", "encoder.neck.fine.1"),
        ]
    )


def neck(theirs: str) -> Table:
    """The neck's convolutions, which files count from the coarsest."""
    return pairs((theirs.format(3 - i), f"encoder.neck.convs.{i}") for i in range(4))


def memory() -> Table:
    """The official names of what videos need, but for the perceiver."""
    layer, ours = "memory_attention.layers.{}", "memory.attention.layers.{}"
    down, mixer = "memory_encoder.mask_downsampler.encoder", "memory_encoder.fuser.layers.{}"
    modules = [
        *((f"{layer}.self_attn.{p}", f"{ours}.self_attn.{p}") for p in _PROJECTIONS),
        *((f"{layer}.cross_attn_image.{p}", f"{ours}.cross_attn.{p}") for p in _PROJECTIONS),
        *((f"{layer}.linear{i}", f"{ours}.lin{i}") for i in (1, 2)),
        *((f"{layer}.norm{i}", f"{ours}.norm{i}") for i in (1, 2, 3)),
        ("memory_attention.norm", "memory.attention.norm"),
        *((f"{down}.{3 * i}", f"memory.encoder.mask_convs.{i}") for i in range(4)),
        *((f"{down}.{3 * i + 1}", f"memory.encoder.mask_norms.{i}") for i in range(4)),
        (f"{down}.12", "memory.encoder.mask_out"),
        ("memory_encoder.pix_feat_proj", "memory.encoder.frame"),
        (f"{mixer}.dwconv", "memory.encoder.mixers.{}.conv"),
        (f"{mixer}.norm", "memory.encoder.mixers.{}.norm"),
        (f"{mixer}.pwconv1", "memory.encoder.mixers.{}.lin1"),
        (f"{mixer}.pwconv2", "memory.encoder.mixers.{}.lin2"),
        ("memory_encoder.out_proj", "memory.encoder.out"),
        ("mask_downsample", "memory.mask_down"),
        ("obj_ptr_proj.layers.{}", "memory.pointer.layers.{}"),
        ("obj_ptr_tpos_proj", "memory.pointer_time"),
    ]
    single: Table = {
        "maskmem_tpos_enc": "memory.times",
        "no_mem_embed": "no_memory",
        "no_mem_pos_enc": "memory.no_position",
        "no_obj_ptr": "memory.no_pointer",
        "no_obj_embed_spatial": "memory.absent",
        f"{mixer}.gamma": "memory.encoder.mixers.{}.scale",
    }
    return pairs(modules) | single


def _trunk() -> Table:
    theirs, ours = "image_encoder.trunk.blocks.{}", "encoder.trunk.blocks.{}"
    names = ("norm1", "norm2", "attn.qkv", "attn.proj", "proj")
    modules = [(f"{theirs}.{name}", f"{ours}.{name}") for name in names]
    modules += [(f"{theirs}.mlp.layers.{i}", f"{ours}.lin{i + 1}") for i in (0, 1)]
    modules.append(("image_encoder.trunk.patch_embed.proj", "encoder.trunk.patch_embed"))
    return pairs(modules) | {
        "image_encoder.trunk.pos_embed": "encoder.trunk.pos_embed",
        "image_encoder.trunk.pos_embed_window": "encoder.trunk.pos_window",
    }


OFFICIAL = Layout(
    name="official",
    table=_trunk() | neck("image_encoder.neck.convs.{}.conv") | prompt_side() | memory(),
)
