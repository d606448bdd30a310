"""MobileSAM's tensors: the official file, its batch norms multiplied into the convolutions.

The file is the plain state of the original network, loaded strictly there: no wrapper, no prefix.
Its encoder ends in `norm_head` and `head`, for ImageNet's classes, which nothing uses.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from anymask.weights import sam
from anymask.weights.convert import Layout
from anymask.weights.sam import pairs

_EPS = 1e-5  # of the original's batch norms
_NORM = ("weight", "bias", "running_mean", "running_var")


def with_norm(names: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """Entries for convolutions without bias, each followed by a batch norm."""
    table: dict[str, str | None] = {}
    for theirs, ours in names:
        table[f"{theirs}.c.weight"] = f"{ours}.weight"
        table |= {f"{theirs}.bn.{part}": f"{ours}.bn.{part}" for part in _NORM}
        table[f"{theirs}.bn.num_batches_tracked"] = None  # training's
    return table


def encoder() -> dict[str, str | None]:
    """The file's names of TinyViT."""
    stage, ours = "image_encoder.layers.{}", "encoder.stages.{}"
    block, own = f"{stage}.blocks.{{}}", f"{ours}.blocks.{{}}"
    convolutions = [
        ("image_encoder.patch_embed.seq.0", "encoder.embed.conv1"),
        ("image_encoder.patch_embed.seq.2", "encoder.embed.conv2"),
        *((f"{stage}.downsample.conv{i}", f"{ours}.merge.conv{i}") for i in (1, 2, 3)),
        *((f"{block}.conv{i}", f"{own}.conv{i}") for i in (1, 2, 3)),
        (f"{block}.local_conv", f"{own}.local"),
    ]
    modules = [
        *((f"{block}.attn.{part}", f"{own}.attn.{part}") for part in ("norm", "qkv", "proj")),
        (f"{block}.mlp.norm", f"{own}.norm"),
        (f"{block}.mlp.fc1", f"{own}.lin1"),
        (f"{block}.mlp.fc2", f"{own}.lin2"),
        *((f"image_encoder.neck.{i}", f"encoder.neck.{i}") for i in (1, 3)),
    ]
    single: dict[str, str | None] = {
        f"{block}.attn.attention_biases": f"{own}.attn.biases",
        "image_encoder.neck.0.weight": "encoder.neck.0.weight",
        "image_encoder.neck.2.weight": "encoder.neck.2.weight",
    }
    for part in ("norm_head", "head"):
        single |= {f"image_encoder.{part}.{kind}": None for kind in ("weight", "bias")}
    return with_norm(convolutions) | pairs(modules) | single


def fold(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each ``X.weight`` and its batch norm ``X.bn.*`` to ``X.weight`` and ``X.bias``.

    In float64, then float32: what the pair computed, rounded once. A 1 x 1 convolution becomes a
    linear layer. Where one of the five is missing or does not fit, they are left as they are, for
    the comparison with the network to name.
    """
    out = dict(state)
    for name in state:
        if not name.endswith(".bn.weight"):
            continue
        conv = name.removesuffix(".bn.weight")
        parts = [out.get(f"{conv}.weight"), *(out.get(f"{conv}.bn.{part}") for part in _NORM)]
        if any(part is None or not part.is_floating_point() for part in parts):
            continue
        weight, scale, shift, mean, var = (part.double() for part in parts if part is not None)
        if weight.ndim != 4 or {t.shape for t in (scale, shift, mean, var)} != {weight.shape[:1]}:
            continue
        factor = scale / torch.sqrt(var + _EPS)
        scaled = (weight * factor[:, None, None, None]).float()
        out[f"{conv}.weight"] = scaled.flatten(1) if scaled.shape[2:] == (1, 1) else scaled
        out[f"{conv}.bias"] = (shift - mean * factor).float()
        for part in _NORM:
            del out[f"{conv}.bn.{part}"]
    return out


def prompt_side() -> dict[str, str | None]:
    """SAM's own names of all but the encoder."""
    table = sam.OFFICIAL.table
    return {name: ours for name, ours in table.items() if not name.startswith("image_encoder.")}


OFFICIAL = Layout(name="official", table=encoder() | prompt_side(), finish=fold)
LAYOUTS = (OFFICIAL,)
