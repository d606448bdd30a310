"""Which row of the table a file's tensors belong to, by their names and shapes alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from anymask.errors import CheckpointError
from anymask.variants import Variant
from anymask.weights import edgetam, efficient_sam, mobile_sam, nano, sam, sam2, sam2_hf, sam_hq
from anymask.weights.convert import Layout, convert, recognise

Shapes = Mapping[str, tuple[int, ...]]

LAYOUTS: Mapping[str, Sequence[Layout]] = {
    "nano": nano.LAYOUTS,
    "sam": sam.LAYOUTS,
    "mobile_sam": mobile_sam.LAYOUTS,
    "sam_hq": sam_hq.LAYOUTS,
    "sam_hq_light": sam_hq.LIGHT_LAYOUTS,
    "efficient_sam": efficient_sam.LAYOUTS,
    "sam2": (sam2.OFFICIAL, sam2_hf.SAM2),
    "edgetam": (edgetam.OFFICIAL, sam2_hf.EDGETAM),
}


def layouts_of(row: Variant, wanted: Shapes) -> tuple[Layout, ...]:
    """The ways to name a row's tensors: our own, then those of its family."""
    own = Layout(name="anymask", table={name: name for name in wanted})
    return (own, *LAYOUTS[row.builder])


def matched(state: Mapping[str, Tensor], row: Variant, wanted: Shapes) -> dict[str, Tensor] | None:
    """A file's tensors under our names, or None where they are not exactly those of the row.

    Parameters
    ----------
    state
        The file's tensors by the file's names.
    row
        The row in question.
    wanted
        Its tensors: our names and their shapes.
    """
    layouts = layouts_of(row, wanted)
    if recognise(list(state), layouts) is None:
        return None
    ours = convert(state, layouts)
    right = {name: tuple(t.shape) for name, t in ours.items()} == wanted
    return ours if right and all(t.is_floating_point() for t in ours.values()) else None


def mismatch(
    state: Mapping[str, Tensor], row: Variant, wanted: Shapes, path: Path
) -> CheckpointError:
    """The first thing in which a file that does not match differs from a row.

    One of ``unknown-tensor``, ``missing-tensor``, ``tensor-shape``, ``tensor-type``.
    """

    def error(code: str, problem: str, name: str, hint: str) -> CheckpointError:
        return CheckpointError(code, problem, given=name, where=str(path), hint=hint)

    layouts = layouts_of(row, wanted)
    best = max(layouts, key=lambda layout: sum(layout.knows(name) for name in state))
    unknown = f"{row.name} has no such tensor"
    strange = next((name for name in state if not best.knows(name)), None)
    if strange is not None:
        return error("unknown-tensor", unknown, strange, "is it the file of another model?")
    ours = convert(state, (best,))
    for name, shape in wanted.items():
        if name not in ours:
            hint = "is it whole, and of this model?"
            return error("missing-tensor", f"the file lacks a tensor of {row.name}", name, hint)
        found = tuple(ours[name].shape)
        if found != shape:
            problem = f"a tensor has shape {found}, that of {row.name} has {shape}"
            return error("tensor-shape", problem, name, "is it the file of another size?")
        if not ours[name].is_floating_point():
            kind = str(ours[name].dtype).removeprefix("torch.")
            problem = f"a tensor holds {kind}, not real numbers"
            return error("tensor-type", problem, name, "get the plain weights")
    strange = next(name for name in ours if name not in wanted)
    return error("unknown-tensor", unknown, strange, "is it the file of a larger model?")
