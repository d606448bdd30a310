"""A row's network, blank, and the weight files that fill it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from anymask.errors import CheckpointError
from anymask.nn.blank import NoValues
from anymask.nn.efficient_sam import build_efficient_sam
from anymask.nn.mobile_sam import build_mobile_sam
from anymask.nn.nano import build_nano
from anymask.nn.sam import build_sam
from anymask.nn.sam2 import build_edgetam, build_sam2
from anymask.nn.sam_hq import build_sam_hq, build_sam_hq_light
from anymask.variants import VARIANTS, Variant
from anymask.weights.cache import bundled, located
from anymask.weights.card import read_card
from anymask.weights.download import Progress, fetch
from anymask.weights.match import Shapes, matched, mismatch

BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "nano": build_nano,
    "sam": build_sam,
    "mobile_sam": build_mobile_sam,
    "sam_hq": build_sam_hq,
    "sam_hq_light": build_sam_hq_light,
    "efficient_sam": build_efficient_sam,
    "sam2": build_sam2,
    "edgetam": build_edgetam,
}


def find_weights(row: Variant, *, progress: Progress | None = None) -> Path:
    """The bundled weight file of a row, or the cached one, downloaded where it is not there.

    Raises
    ------
    CheckpointError
        ``weights-missing`` for bundled ones; for others see `anymask.weights.download.fetch`.
    """
    if row.weights.url is not None:
        return fetch(row.weights, progress=progress)
    path = located(row.weights)
    if path is None:
        raise CheckpointError(
            "weights-missing",
            f"the weights of {row.name} are not in the installed package",
            where=str(bundled(row.weights)),
            hint="install anymask again",
        )
    return path


def blank(row: Variant) -> nn.Module:
    """A row's network whose weights have no values yet."""
    with NoValues():
        return BUILDERS[row.builder](**row.network)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a weight file must hold."""
    return {name: tuple(t.shape) for name, t in network.state_dict().items()}


def fill(network: nn.Module, ours: Mapping[str, Tensor], kind: torch.dtype) -> None:
    """Give a network its tensors, whose names and shapes fit; `kind` is the encoder's dtype.

    Tensors that have the wanted dtype and memory layout are taken as they are, so that there is
    one copy of them; the others are converted, once. Where the encoder is converted all are
    copied, for any tensor that is taken keeps the whole mapped file.
    """
    encoder = cast(nn.Module, network.encoder)
    in_encoder = {f"encoder.{name}" for name in encoder.state_dict()}
    taken = {}
    for name, own in network.state_dict().items():
        new, dtype = ours[name], kind if name in in_encoder else torch.float32
        if kind != torch.float32 or new.dtype != dtype or new.stride() != own.stride():
            new = torch.empty_strided(own.shape, own.stride(), dtype=dtype).copy_(new)
        taken[name] = new
    network.load_state_dict(taken, assign=True, strict=True)
    encoder.to(kind)  # buffers that it computes itself


def adopt(
    state: Mapping[str, Tensor], row: Variant, wanted: Shapes, path: Path
) -> dict[str, Tensor]:
    """A file's tensors under our names, all there and of the right shapes.

    Raises
    ------
    CheckpointError
        ``wrong-variant``: the file holds another model of the table; ``unknown-tensor``,
        ``missing-tensor``, ``tensor-shape``, ``tensor-type``: it holds none.
    """
    ours = matched(state, row, wanted)
    if ours is not None:
        return ours
    other = next((r for r in VARIANTS if r.name != row.name and fits(state, r)), None)
    if other is not None:
        raise CheckpointError(
            "wrong-variant",
            f"the file holds {other.name}, {row.name} was asked",
            where=str(path),
            hint=f"ask for {other.name}, or give the file of {row.name}",
        )
    raise mismatch(state, row, wanted, path)


def fits(state: Mapping[str, Tensor], row: Variant) -> bool:
    """Whether a file's tensors are those of a row."""
    return matched(state, row, shapes(blank(row))) is not None


def row_of(state: Mapping[str, Tensor], path: Path) -> Variant:
    """The row of the table that a file belongs to: the one that its card names, if it fits."""
    card = read_card(path)
    named = [row for row in VARIANTS if card is not None and row.name == card.model]
    for row in (*named, *VARIANTS):
        if fits(state, row):
            return row
    raise CheckpointError(
        "checkpoint-unknown",
        "the file is none of the models that anymask knows",
        where=str(path),
        hint=f"they are {', '.join(row.name for row in VARIANTS)}; name one to see what differs",
    )
