"""Nano for videos: its encoder and decoder as they are, and a memory between them.

    maps       a frame (1, 3, H, W)           -> six maps
    recall     maps, memories of N objects    -> image parts an object, keys, a guess, in sight?
    answer     those, prompts                 -> logits, predicted IoU
    remember   maps, masks                    -> memories

Followed objects are answered by the decoder's output for clear prompts alone: the guess is taken as
the previous mask and its box as the prompt, unless somebody points at something. All four outputs
are then that one, since a guess leaves nothing to choose among. There are no pointers.

Letters as in nano_memory.py; H W sides of the input, h w those of the logits.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.memory import MemoryBank
from anymask.nn.nano import Nano
from anymask.nn.nano_memory import NanoMemory, Recalled

Maps = tuple[Float[Tensor, "_ _ _ _"], ...]

_STRIDE = 4  # px a cell of the logits
_PAD = 0.05, 4.0  # a guess's box is widened by this share of it and so many px
_GIVEN = 10.0  # logit of being in sight for what somebody pointed at
_PARTS = 3  # of the maps that are the image's parts; the others are keys


class NanoVideo(Nano):
    """Nano with a memory.

    Parameters
    ----------
    image
        What knows images; its weights are shared.
    """

    def __init__(self, image: Nano, memory: NanoMemory) -> None:
        nn.Module.__init__(self)  # parts that are there need not be built
        self.encoder = image.encoder
        self.decoder = image.decoder
        self.memory = memory

    def maps(self, x: Float[Tensor, "1 3 H W"]) -> Maps:
        """A frame, normalised, to its six maps."""
        return self.encode(x)

    def forget(self, maps: Maps) -> Maps:
        """The maps themselves: without memory nano sees an image."""
        return maps

    def recall(self, maps: Maps, bank: MemoryBank) -> tuple[Tensor, ...]:
        """Parts moved by what each of N objects recalls, keys of the frame, guesses, in sight."""
        if bank.same_frames:
            shared = self.memory.recall_together(maps, bank.spatial, bank.rows[0])
            return self.moved(maps, shared)
        valid = bank.spatial_valid
        if valid is None:
            valid = torch.ones_like(bank.rows, dtype=torch.bool)
        recalled = self.memory.recall(maps, bank.spatial, bank.rows, valid)
        return self.moved(maps, recalled)

    def moved(self, maps: Maps, recalled: Recalled) -> tuple[Tensor, ...]:
        """What `answer` takes of N objects that recall something."""
        pairs = zip(maps[:_PARTS], recalled.shifts, strict=True)
        parts = [part + shift for part, shift in pairs]
        return (*parts, *maps[_PARTS:], recalled.guess, recalled.present)

    def answer(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "N M 2"],
        labels: Int[Tensor, "N M"],
        masks: Float[Tensor, "N 1 h w"] | None,
    ) -> tuple[
        Float[Tensor, "N 4 h w"], Float[Tensor, "N 4"], Float[Tensor, "N 4 1"], Float[Tensor, " N"]
    ]:
        """Logits, predicted IoU, vectors (all zero) and whether the object is in sight (> 0)."""
        maps = features[: 2 * _PARTS]
        vectors = points.new_zeros(len(points), 4, 1)
        if len(features) == len(maps):  # nothing was recalled
            logits, scores = self.decode(maps, points, labels, masks)
            return logits, scores, vectors, torch.full_like(scores[:, 0], _GIVEN)
        guess, present = features[2 * _PARTS :]
        n = len(guess)
        pointed = (labels >= 0).any(1, keepdim=True)
        corners = torch.tensor([[2, 3]], device=labels.device, dtype=labels.dtype)
        labels = torch.cat([labels, torch.where(pointed, -1, corners)], dim=1)
        points = torch.cat([points, box_around(guess)], dim=1)
        maps = tuple(part.expand(n, -1, -1, -1) for part in maps)
        logits, scores = self.decoder(
            maps, points[:, None], labels[:, None], guess if masks is None else masks
        )
        # who points at an object says that it is there
        present = torch.where(pointed[:, 0], present.clamp_min(_GIVEN), present)
        return (
            logits[:, 0, :1].expand(-1, 4, -1, -1),
            scores[:, 0, :1].expand(-1, 4),
            vectors,
            present,
        )

    def pointers(
        self, vectors: Float[Tensor, "N 1"], present: Float[Tensor, " N"]
    ) -> Float[Tensor, "N 1"]:
        """Nothing that anybody looks at."""
        return vectors

    def coded(self, masks: Float[Tensor, "N 1 H W"]) -> Float[Tensor, "N 1 h w"]:
        """Masks (0..1) as previous logits."""
        return F.avg_pool2d(masks, _STRIDE).clamp(1e-3, 1 - 1e-3).logit()

    def remember(
        self,
        maps: Maps,
        masks: Float[Tensor, "N 1 H W"],
        present: Float[Tensor, " N"],
        binary: bool,
    ) -> Float[Tensor, "N K V"]:
        """Memories of a frame, of logits at the input's size.

        Parameters
        ----------
        binary
            Take masks as in or out, as somebody asked for them.
        """
        shown = (masks > 0).to(masks.dtype) if binary else masks.sigmoid()
        shown = shown * (present > 0).to(masks.dtype)[:, None, None, None]
        return self.memory.remember(maps, F.avg_pool2d(shown, _STRIDE))


def build_nano_video(image: Nano, *, rows: int) -> NanoVideo:
    """Nano with a blank memory of so many rows."""
    return NanoVideo(image, NanoMemory(rows))


def box_around(guess: Float[Tensor, "N 1 h w"]) -> Float[Tensor, "N 2 2"]:
    """Corners (x, y) in px of a box that holds the likely cells, and some room around them."""
    h, w = guess.shape[-2:]
    peak = guess.amax((1, 2, 3))[:, None]
    level = torch.minimum(torch.zeros_like(peak), peak - 0.1)  # never an empty box
    x0, x1 = _extent(guess[:, 0].amax(1) > level)
    y0, y1 = _extent(guess[:, 0].amax(2) > level)
    share, px = _PAD
    dx, dy = share * (x1 - x0) + px, share * (y1 - y0) + px
    low = torch.stack([(x0 - dx).clamp_min(0), (y0 - dy).clamp_min(0)], dim=-1)
    high = torch.stack([(x1 + dx).clamp_max(w * _STRIDE), (y1 + dy).clamp_max(h * _STRIDE)], dim=-1)
    return torch.stack([low, high], dim=1)


def _extent(
    cells: Bool[Tensor, "N L"],
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Where the cells that are set begin and end, px."""
    at = torch.arange(cells.shape[1], device=cells.device)
    first = torch.where(cells, at, cells.shape[1]).amin(1)
    last = torch.where(cells, at, -1).amax(1) + 1
    return first.float() * _STRIDE, last.float() * _STRIDE
