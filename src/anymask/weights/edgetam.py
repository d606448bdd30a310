"""EdgeTAM's tensors: the official file (``{"model": ...}``).

SAM 2's names but for the trunk, which is in its form for training, and the perceiver of memories.
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from anymask.weights.convert import Layout
from anymask.weights.mobile_sam import fold, with_norm
from anymask.weights.sam import pairs
from anymask.weights.sam2 import memory, neck, prompt_side

Table = dict[str, str | None]

_STAGES = 4
_NEAR = ("tall", "point")  # branches of a block's first convolution beside the map itself


def trunk(theirs: str) -> Table:
    """Names of the trunk's tensors, below a prefix."""
    convolutions: list[tuple[str, str]] = []
    modules: list[tuple[str, str]] = []

    def block(name: str, ours: str) -> None:
        branches = zip(("conv", "conv1"), _NEAR, strict=True)
        convolutions.extend(
            (f"{name}.token_mixer.{a}", f"{ours}.near.{branch}") for a, branch in branches
        )
        convolutions.extend(
            (f"{name}.channel_mixer.conv{i}", f"{ours}.channels.lin{i}") for i in (1, 2)
        )

    for i in (1, 2):
        convolutions.append((f"{theirs}.stem.conv{i}", f"encoder.trunk.stem{i}"))
    for stage in range(_STAGES):
        name, ours = (
            f"{theirs}.stages_{stage}.blocks.{{}}",
            f"encoder.trunk.stages.{stage}.{{}}",
        )
        block(name, ours)
        modules += [(f"{name}.se.fc{i}", f"{ours}.squeeze.fc{i}") for i in (1, 2)]
    for stage in range(1, _STAGES):
        name, ours = f"{theirs}.stages_{stage}.downsample", f"encoder.trunk.halves.{stage - 1}"
        block(f"{name}.pre_block", f"{ours}.before")
        convolutions += [
            (f"{name}.spatial_downsample", f"{ours}.near"),
            (f"{name}.channel_downsample", f"{ours}.wider"),
            *((f"{name}.ffn.conv{i}", f"{ours}.channels.lin{i}") for i in (1, 2)),
        ]
    return with_norm(convolutions) | pairs(modules)


def _perceiver() -> Table:
    layer, ours = "spatial_perceiver.layers.{}", "memory.perceiver.layers.{}"
    norms = [
        (f"{layer}.attn.norm_x", f"{ours}.attn.norm_seen"),
        (f"{layer}.attn.norm_latents", f"{ours}.attn.norm"),
        (f"{layer}.self_attn.norm", f"{ours}.self_attn.norm"),
        ("spatial_perceiver.norm", "memory.perceiver.norm"),
    ]
    plain = []
    for part in ("", "self_"):
        norms.append((f"{layer}.{part}ff.0", f"{ours}.{part}mlp.norm"))
        plain += [
            (f"{layer}.{part}ff.{a}", f"{ours}.{part}mlp.{b}")
            for a, b in ((1, "lin1"), (3, "lin2"))
        ]
        plain += [
            (f"{layer}.{part}attn.to_{name}", f"{ours}.{part}attn.{name}")
            for name in ("q", "kv", "out")
        ]
    latents: Table = {
        f"spatial_perceiver.{name}": f"memory.perceiver.{name}"
        for name in ("latents", "latents_2d")
    }
    return pairs(norms) | pairs(plain, ("weight",)) | latents


def merge(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Batch norms into their convolutions, then a block's three branches into one.

    Branches that are not both there, or do not fit, are left as they are, for the comparison with
    the network to name.
    """
    out = fold(state)
    for name in list(out):
        if not name.endswith(f".near.{_NEAR[0]}.weight"):
            continue
        near = name.removesuffix(f".{_NEAR[0]}.weight")
        keys = [f"{near}.{branch}.{kind}" for branch in _NEAR for kind in ("weight", "bias")]
        if any(key not in out for key in keys):
            continue
        tall, tall_bias, point, point_bias = (out[key].double() for key in keys)
        if tall.shape[1:] != (1, 3, 3) or point.shape != (len(tall), 1):
            continue
        middle = F.pad(point[..., None, None] + 1, (1, 1, 1, 1))  # and the map itself
        out[f"{near}.weight"] = (tall + middle).float()
        out[f"{near}.bias"] = (tall_bias + point_bias).float()
        for key in keys:
            del out[key]
    return out


OFFICIAL = Layout(
    name="official",
    table=trunk("image_encoder.trunk.body")
    | neck("image_encoder.neck.convs.{}.conv")
    | prompt_side()
    | memory()
    | _perceiver(),
    finish=merge,
)
