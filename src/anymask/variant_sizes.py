"""A model at another input size than the one it was trained at."""

from dataclasses import replace
from types import MappingProxyType

from anymask.errors import CheckpointError
from anymask.variant_specs import Variant


def sized(row: Variant, size: int | None) -> Variant:
    """The row for images whose longest side becomes ``size`` px; None leaves it as it is.

    Another size is another model as far as embeddings go, so the name says it: ``nano@512``.

    Raises
    ------
    CheckpointError
        ``size-unsupported``: the row has one size only, or not this one.
    """
    if size is None or size == row.spec.side:
        return row
    sizes = row.sizes
    if sizes is None:
        raise CheckpointError(
            "size-unsupported",
            f"{row.name} takes images of {row.spec.side} px only",
            given=size,
            hint="leave size out",
        )
    if isinstance(size, bool) or not isinstance(size, int) or not sizes.has(size):
        raise CheckpointError(
            "size-unsupported",
            f"{row.name} takes sizes from {sizes.smallest} to {sizes.largest} px in steps of "
            f"{sizes.step}",
            given=size,
            hint=f"its own is {row.spec.side}",
        )
    square = row.spec.multiple == row.spec.side
    network = dict(row.network) | ({sizes.argument: size} if sizes.argument else {})
    return replace(
        row,
        name=f"{row.name}@{size}",
        spec=replace(row.spec, side=size, multiple=size if square else row.spec.multiple),
        network=MappingProxyType(network),
    )
