"""Tables of positions at another input size than the weights were trained at.

A table of cells is resized bicubic and one of offsets linear, as ViTDet does, where both come from
(Li et al. 2022, arXiv:2203.16527; Detectron2's ``get_abs_pos`` and ``get_rel_pos``).
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from anymask.weights.match import Shapes


def cells(table: Float[Tensor, "1 h w C"], wanted: tuple[int, ...]) -> Float[Tensor, "1 t u C"]:
    """A table with a row of numbers for each cell of a map."""
    maps = table.float().permute(0, 3, 1, 2)
    size = (wanted[1], wanted[2])
    resized = F.interpolate(maps, size=size, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).contiguous()


def offsets(table: Float[Tensor, "L c"], wanted: tuple[int, ...]) -> Float[Tensor, "M c"]:
    """A table with a row of numbers for each offset between two lines of a map."""
    lines = table.float().t()[None]
    resized = F.interpolate(lines, size=wanted[0], mode="linear", align_corners=False)
    return resized[0].t().contiguous()


# by the last part of a tensor's name; tensors of other names never change with the size
TABLES: Mapping[str, Callable[[Tensor, tuple[int, ...]], Tensor]] = {
    "pos_embed": cells,
    "rel_pos_h": offsets,
    "rel_pos_w": offsets,
}


def resized(ours: Mapping[str, Tensor], wanted: Shapes) -> dict[str, Tensor]:
    """Tensors under our names with their tables brought to the shapes of another size."""
    found = {}
    with torch.inference_mode(False):
        for name, tensor in ours.items():
            if tuple(tensor.shape) != wanted[name]:
                tensor = TABLES[name.rsplit(".", 1)[-1]](tensor, wanted[name])
            found[name] = tensor
    return found
