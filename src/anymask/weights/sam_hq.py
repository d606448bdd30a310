"""SAM-HQ's tensors: the official files, of ViT and of TinyViT, and Hugging Face's SamHQModel.

They are SAM's (or MobileSAM's) and, in the decoder, the HQ token's. The original loads its files
without asking for all names; those it publishes have all, and no others, which is what is asked
here. Our encoder holds the convolutions that need no prompt; the HQ token is a fifth mask token.

Hugging Face's own masks are not those of the original in transformers 5.23 (its decoder goes on
with the image as it was before the transformer): the names are right, the numbers are ours.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from anymask.weights import mobile_sam, sam
from anymask.weights.convert import Layout
from anymask.weights.sam import pairs

_HQ_TOKEN, _MASK_TOKENS = "decoder.hq_token", "decoder.mask_tokens"


def _behind(table: Mapping[str, str | None]) -> dict[str, str | None]:
    """A table whose encoder is the trunk of ours."""
    return {
        name: ours
        and (
            f"encoder.trunk.{ours.removeprefix('encoder.')}"
            if ours.startswith("encoder.")
            else ours
        )
        for name, ours in table.items()
    }


def _official() -> dict[str, str | None]:
    modules = [
        (f"mask_decoder.{theirs}.{i}", f"{ours}.{i}")
        for theirs, ours in (
            ("compress_vit_feat", "encoder.early"),
            ("embedding_encoder", "encoder.late"),
            ("embedding_maskfeature", "decoder.convs"),
        )
        for i in (0, 1, 3)
    ]
    modules += [(f"mask_decoder.hf_mlp.layers.{i}", _mlp(i)) for i in range(3)]
    return pairs(modules) | {"mask_decoder.hf_token.weight": _HQ_TOKEN}


def _hugging_face() -> dict[str, str | None]:
    modules = [
        (f"mask_decoder.{theirs}_{part}", f"{ours}.{i}")
        for theirs, ours in (
            ("compress_vit", "encoder.early"),
            ("encoder", "encoder.late"),
            ("mask", "decoder.convs"),
        )
        for part, i in (("conv1", 0), ("norm", 1), ("conv2", 3))
    ]
    parts = ("proj_in", "layers.0", "proj_out")
    modules += [(f"mask_decoder.hq_mask_mlp.{part}", _mlp(i)) for i, part in enumerate(parts)]
    return pairs(modules) | {"mask_decoder.hq_token.weight": _HQ_TOKEN}


def _mlp(layer: int) -> str:
    return f"decoder.mask_mlps.4.layers.{layer}"


def join(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The HQ token behind the mask tokens; left where it is if one is missing or does not fit."""
    out = dict(state)
    token, others = out.get(_HQ_TOKEN), out.get(_MASK_TOKENS)
    if token is None or others is None or token.ndim != 2 or token.shape[1:] != others.shape[1:]:
        return out
    out[_MASK_TOKENS] = torch.cat([others, out.pop(_HQ_TOKEN)])
    return out


OFFICIAL = Layout(name="official", table=_behind(sam.OFFICIAL.table) | _official(), finish=join)
HUGGING_FACE = Layout(
    name="Hugging Face", table=_behind(sam.HUGGING_FACE.table) | _hugging_face(), finish=join
)
LIGHT = Layout(
    name="official",
    table=_behind(mobile_sam.OFFICIAL.table) | _official(),
    finish=lambda state: join(mobile_sam.fold(state)),
)
LAYOUTS = (OFFICIAL, HUGGING_FACE)
LIGHT_LAYOUTS = (LIGHT,)
