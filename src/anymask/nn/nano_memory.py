"""Nano's memory of frames: where in this one is what was masked in those.

    remember  maps, masks          -> memory: a key, four shares of object, a code for each cell
    recall    maps, memories       -> maps of each object: image parts moved, a guess of its mask

Cells are those of stride 8. Each cell of a frame looks for its like among the cells of each memory
(space-time matching, Oh et al. 2019, arXiv:1904.00607), near its own place only for memories of the
last frames; what lay there - share of object in its four cells of stride 4, and a learned code - is
read, mixed over memories, and made by a few convolutions into

    guess     logits at stride 4, which the decoder takes as the previous mask, and a box of it
    shifts    added to the image's parts at strides 16, 8 and 4, an object each
    present   logit of the object being in sight

All learned parts of guess, shifts and keys start at zero: untrained, this is plain matching by the
keys that nano has for prompts. Differs from SAM 2's memory (arXiv:2408.00714): no attention over
features, no pointers; the guess itself is what is remembered and read.

Letters: N objects, T memories each, Q cells of a frame, K of a memory, V values of a cell.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.encoders.nano import PARTS, leaky, up2

SHARES = 4  # cells of stride 4 in one of stride 8
MATCH = 64  # channels of a cell's key
_CODE = 16  # learned channels of a cell's value
_WIDTH, _DEEP = 48, 64  # channels of the convolutions at strides 8 and 16
_SURE = 0.02  # guesses are kept this far from 0 and 1, as the decoder knows them from clicks
_NEVER = -1e4  # weight, before the softmax, of what must not be attended to


class Recalled(NamedTuple):
    """What memories say about a frame, for N objects."""

    shifts: tuple[
        Float[Tensor, "N C16 h16 w16"], Float[Tensor, "N C8 h8 w8"], Float[Tensor, "N C4 h4 w4"]
    ]
    guess: Float[Tensor, "N 1 h4 w4"]
    present: Float[Tensor, " N"]


class NanoMemory(nn.Module):
    """Remember and recall.

    Parameters
    ----------
    rows
        Of the temporal table: 0 is the last frame, the last row belongs to prompted frames.
    """

    def __init__(self, rows: int = 4) -> None:
        super().__init__()
        d16, d8, d4 = PARTS
        values = SHARES + _CODE
        self.key8 = nn.Conv2d(d8, MATCH, 1)
        self.key16 = nn.Conv2d(d16, MATCH, 1)
        # one over temperature, as a logarithm; one over twice a squared distance in cells
        self.sharp = nn.Parameter(torch.full((rows,), 3.0))
        near = torch.full((rows,), 1 / 18)
        near[-1] = 0.0
        self.near = nn.Parameter(near)
        self.trust = nn.Parameter(torch.zeros(rows))
        self.code = nn.Sequential(
            nn.Conv2d(d8 + SHARES, 24, 3, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(24, _CODE, 3, padding=1),
        )
        self.from16 = nn.Conv2d(d16, 24, 1)
        self.mix8 = nn.Conv2d(d8 + 24 + 3 * values + SHARES + 3, _WIDTH, 3, padding=1)
        self.down16 = nn.Conv2d(_WIDTH, _DEEP, 3, padding=1)
        self.mix16 = nn.Conv2d(_DEEP, _DEEP, 3, padding=1)
        self.up8 = nn.Conv2d(_DEEP, _WIDTH, 1)
        self.last8 = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.guess = nn.Conv2d(_WIDTH, SHARES, 1)
        self.shift16 = nn.Conv2d(_DEEP, d16, 1)
        self.shift8 = nn.Conv2d(_WIDTH, d8, 1)
        self.shift4 = nn.Conv2d(_WIDTH, d4, 1)
        self.present = nn.Sequential(nn.Linear(2 * _DEEP + 3, 32), nn.ReLU(), nn.Linear(32, 1))
        for layer in (self.key8, self.key16, self.guess, self.shift16, self.shift8, self.shift4):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        nn.init.constant_(self.present[-1].bias, 2.0)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def keys(self, maps: tuple[Float[Tensor, "1 _ _ _"], ...]) -> Float[Tensor, "1 D h8 w8"]:
        """Unit vectors by which cells are compared: nano's own at two strides, and a correction."""
        f16, f8, _, k16, k8, _ = maps
        own = torch.cat([k8, up2(k16)], dim=1) * 0.5**0.5
        return F.normalize(own + self.key8(f8) + up2(self.key16(f16)), dim=1)

    def remember(
        self, maps: tuple[Float[Tensor, "1 _ _ _"], ...], masks: Float[Tensor, "N 1 h4 w4"]
    ) -> Float[Tensor, "N K V"]:
        """Memories of a frame; ``masks`` is the share of object in cells of stride 4, 0..1."""
        n = masks.shape[0]
        shares = F.pixel_unshuffle(masks, 2)
        code = self.code(torch.cat([maps[1].expand(n, -1, -1, -1), shares], dim=1))
        cells = torch.cat([self.keys(maps).expand(n, -1, -1, -1), shares, code], dim=1)
        return cells.flatten(2).transpose(1, 2)

    def match(
        self,
        keys: Float[Tensor, "1 D h w"],
        known: Float[Tensor, "M T K D"],
        values: Float[Tensor, "M T K v"],
        rows: Int[Tensor, "M T"],
    ) -> tuple[Float[Tensor, "M T Q v"], Float[Tensor, "M T Q"]]:
        """Values of each cell's like in each memory, and how alike they are (log of a sum)."""
        h, w = keys.shape[2:]
        queries = keys[0].flatten(1).transpose(0, 1)  # (Q, D)
        sharp = self.sharp.exp()[rows].flatten()[:, None, None]  # (M T, 1, 1)
        near = self.near.clamp_min(0)[rows].flatten()[:, None, None]
        apart = near * distances(h, w, keys.device, keys.dtype)
        alike = torch.baddbmm(-apart, queries * sharp, known.flatten(0, 1).transpose(1, 2))
        weights = alike.softmax(-1)
        peak, at = alike.max(-1, keepdim=True)
        total = (peak - weights.gather(-1, at).log()) / sharp  # a log-sum-exp without another exp
        read = weights @ values.flatten(0, 1)
        return torch.unflatten(read, 0, rows.shape), torch.unflatten(total[..., 0], 0, rows.shape)

    def recall(
        self,
        maps: tuple[Float[Tensor, "1 _ _ _"], ...],
        spatial: Float[Tensor, "N T K V"],
        rows: Int[Tensor, "N T"],
        valid: Bool[Tensor, "N T"],
    ) -> Recalled:
        """What N objects' memories say about a frame; invalid ones say nothing."""
        known, values = spatial[..., :MATCH], spatial[..., MATCH:]
        read, alike = self.match(self.keys(maps), known, values, rows)
        return self.conclude(maps, values[..., :SHARES], read, alike, rows, valid)

    def recall_together(
        self,
        maps: tuple[Float[Tensor, "1 _ _ _"], ...],
        spatial: Float[Tensor, "N T K V"],
        rows: Int[Tensor, " T"],
    ) -> Recalled:
        """`recall` for objects with memories of the same frames, which are compared but once."""
        n = spatial.shape[0]
        values = spatial[..., MATCH:]
        side_by_side = values.permute(1, 2, 0, 3).flatten(2)[None]  # (1, T, K, N v)
        keys = self.keys(maps)
        read, alike = self.match(keys, spatial[:1, ..., :MATCH], side_by_side, rows[None])
        apart = torch.unflatten(read[0], -1, (n, -1)).permute(2, 0, 1, 3)
        both = rows.expand(n, -1)
        valid = torch.ones_like(both, dtype=torch.bool)
        return self.conclude(
            maps, values[..., :SHARES], apart, alike.expand(n, -1, -1), both, valid
        )

    def conclude(
        self,
        maps: tuple[Float[Tensor, "1 _ _ _"], ...],
        shares: Float[Tensor, "N T K 4"],
        read: Float[Tensor, "N T Q v"],
        alike: Float[Tensor, "N T Q"],
        rows: Int[Tensor, "N T"],
        valid: Bool[Tensor, "N T"],
    ) -> Recalled:
        """What was read, mixed over memories and made into what the decoder takes."""
        f16, f8 = maps[:2]
        n, (h, w) = rows.shape[0], f8.shape[-2:]
        last_row = self.sharp.shape[0] - 1
        # the last frame's memory, or where there is none the prompted ones'
        freshness = 2.0 * (rows == 0).to(f8.dtype) + (rows == last_row).to(f8.dtype)
        fresh = 50 * freshness + _NEVER * (~valid).to(f8.dtype)  # (N, T)
        first = 50 * (rows == last_row).to(f8.dtype) + _NEVER * (~valid).to(f8.dtype)
        trust = self.trust[rows] + _NEVER * (~valid).to(f8.dtype)
        sharp = self.sharp.exp()[rows][..., None]
        weights = (alike * sharp + trust[..., None]).softmax(1)  # (N, T, Q)
        everything = (weights[..., None] * read).sum(1)
        groups = [(kind.softmax(1)[..., None, None] * read).sum(1) for kind in (fresh, first)]
        still = (fresh.softmax(1)[..., None, None] * shares).sum(1)
        likes = [(kind.softmax(1)[..., None] * alike).sum(1) for kind in (fresh, first)]
        likes.append((alike + _NEVER * (~valid).to(f8.dtype)[..., None]).amax(1))

        def as_map(cells: Float[Tensor, "N Q c"]) -> Float[Tensor, "N c h w"]:
            return torch.unflatten(cells.transpose(1, 2), 2, (h, w))

        found = [as_map(part) for part in (everything, *groups, still, torch.stack(likes, -1))]
        deep = up2(self.from16(f16)).expand(n, -1, -1, -1)
        x = torch.cat([f8.expand(n, -1, -1, -1), deep, *found], dim=1)
        x = leaky(self.mix8(x.contiguous(memory_format=torch.channels_last)))
        y = leaky(self.down16(F.avg_pool2d(x, 2)))
        y = y + leaky(self.mix16(y))
        x = leaky(x + up2(self.up8(y)))
        x = x + leaky(self.last8(x))
        plain = found[0][:, :SHARES].clamp(_SURE, 1 - _SURE).logit()
        guess = F.pixel_shuffle(plain + self.guess(x), 2)
        shifts = self.shift16(y), self.shift8(x), up2(self.shift4(x))
        prob = guess.detach().sigmoid()
        facts = [prob.amax((1, 2, 3)), prob.mean((1, 2, 3)).sqrt(), likes[-1].mean(1)]
        seen = torch.cat([y.mean((2, 3)), y.amax((2, 3)), torch.stack(facts, 1)], dim=1)
        return Recalled(shifts, guess, self.present(seen)[:, 0])


def distances(h: int, w: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "hw hw"]:
    """Squared distances between the cells of a map, in cells."""
    y = torch.arange(h, device=device, dtype=dtype).repeat_interleave(w)
    x = torch.arange(w, device=device, dtype=dtype).repeat(h)
    return (y[:, None] - y).square() + (x[:, None] - x).square()
