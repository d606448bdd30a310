"""What a config may say beside having the right keys; told before anything is read."""

import math
from collections.abc import Iterator

from anymask.errors import DataError
from anymask.train.config import TrainConfig
from anymask.train.recipes import losses_of, recipe_of, row_of


def check_config(config: TrainConfig) -> None:
    """Refuse what no run can be made of.

    Raises
    ------
    DataError
        ``config-value``: a number, share or pair makes no sense, or fits not the network.
    CheckpointError
        ``unknown-model``.
    """
    for where, value, wanted, good in _rules(config):
        if not good:
            raise DataError("config-value", f"{wanted} is wanted", given=value, where=where)
    _check_kinds(config)


def _rules(config: TrainConfig) -> Iterator[tuple[str, object, str, bool]]:
    """Key, value, what it should be, and whether it is."""
    for name in ("steps", "save_every", "judge_every", "most_masks"):
        yield name, getattr(config, name), "a number above 0", getattr(config, name) > 0
    yield (
        "batches",
        config.batches,
        "a number above 0",
        config.batches is None or config.batches > 0,
    )
    yield "kinds", config.kinds, "at least one kind", bool(config.kinds)
    for i, kind in enumerate(config.kinds):
        counts = (kind.views, kind.prompts, kind.side)
        yield f"kinds[{i}]", counts, "views, prompts and side above 0", min(counts) > 0
        window = 0 <= kind.window <= kind.side
        yield f"kinds[{i}].window", kind.window, "at most the side", window
    for name in ("shares", "rounds"):
        shares = getattr(config, name)
        good = all(share >= 0 for share in shares) and (sum(shares) > 0 or shares == ())
        yield name, shares, "a list of shares", good and (bool(shares) or name == "shares")
    fits = len(config.shares) in (0, len(config.kinds))
    yield "shares", config.shares, "a share for each kind", fits
    optim, augment, losses = config.optim, config.augment, losses_of(config)
    betas = len(optim.betas) == 2 and all(0 <= beta < 1 for beta in optim.betas)
    yield "optim.betas", optim.betas, "a pair below 1", betas
    for name in ("lr", "clip", "drop"):
        value = getattr(optim, name)
        yield f"optim.{name}", value, "a number above 0", value > 0 and math.isfinite(value)
    scale = augment.paste_scale
    pair = len(scale) == 2 and 0 < scale[0] <= scale[1]
    yield "augment.paste_scale", scale, "a smallest and a largest size", pair
    yield "augment.paste_most", augment.paste_most, "a number above 0", augment.paste_most > 0
    for name in ("clear", "unclear"):
        yield f"losses.{name}", getattr(losses, name), "a pair", len(getattr(losses, name)) == 2


def _check_kinds(config: TrainConfig) -> None:
    """Sides and windows that the network cannot take."""
    row, cut = row_of(config), recipe_of(config).cut
    fixed = row.sizes is None or row.sizes.argument is not None
    for i, kind in enumerate(config.kinds):
        if kind.side % 32 or kind.window % 32 or (fixed and kind.side != row.spec.side):
            wanted = f"{row.spec.side}" if fixed else "a multiple of 32"
            raise DataError(
                "config-value",
                f"{row.name} learns on views of {wanted} px",
                given=kind.side,
                where=f"kinds[{i}]",
                hint="size is the network's own side",
            )
        if kind.decoded != kind.side and cut is None:
            raise DataError(
                "config-value",
                f"windows cannot be cut from what {row.name} encodes",
                given=kind.window,
                where=f"kinds[{i}].window",
                hint="leave window out",
            )
