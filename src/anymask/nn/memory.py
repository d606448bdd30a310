"""What SAM 2 and EdgeTAM have for videos: memories of frames, and attention to them.

    frame's map + mask -> MemoryEncoder -> memory; map, memories, pointers -> MemoryAttention -> map

Ravi et al. 2024, SAM 2 (arXiv:2408.00714); Zhou et al. 2025, EdgeTAM (arXiv:2501.07256), for the
perceiver that shrinks memories. SAM 2.1 adds two things to SAM 2: a vector that marks memories of
frames on which the object is not, and the distance in time of pointers.

Letters: N objects, T memories of each, P pointers, K tokens of a memory, C and D channels of a map
and of a memory.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from anymask.nn.layers import Mlp
from anymask.nn.memory_attention import MemoryAttention, Tokens
from anymask.nn.memory_encoder import MemoryEncoder
from anymask.nn.perceiver import Perceiver
from anymask.nn.rotary import Turns
from anymask.nn.sines import sines_of_distance, sines_of_grid

_SCALE, _SHIFT = 20.0, -10.0  # of a mask, 0..1, before the encoder


class MemoryBank(NamedTuple):
    """What each of N objects may attend to; shorter histories are padded.

    A `valid` that is None says that nothing is padding, which saves masks. Memories that are of the
    same frames in the same rows for all objects differ in what was masked there alone.
    """

    spatial: Float[Tensor, "N T K D"]
    rows: Int[Tensor, "N T"]  # of the temporal table
    spatial_valid: Bool[Tensor, "N T"] | None
    pointers: Float[Tensor, "N P C"]
    gaps: Float[Tensor, "N P"]  # in time, over the longest that is attended to
    pointer_valid: Bool[Tensor, "N P"] | None
    same_frames: bool = False


class Memory(nn.Module):
    """All that videos add to a network.

    Parameters
    ----------
    dim, memory_dim
        Channels of a frame's map and of a memory.
    frames
        Memories that are attended to: the prompted frames' and the last ones'.
    absent
        There is a vector for memories of frames on which the object is not, and one for the
        distance of pointers in time (SAM 2.1).
    latents
        Of the perceiver: those that see all, those in a grid; (0, 0) where memories stay whole.
    """

    def __init__(
        self,
        *,
        dim: int = 256,
        memory_dim: int = 64,
        depth: int = 4,
        hidden: int = 2048,
        frames: int = 7,
        absent: bool = False,
        latents: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        self.times = nn.Parameter(torch.zeros(frames, 1, 1, memory_dim))
        self.no_position = nn.Parameter(torch.zeros(1, 1, dim))  # in files, and read by nobody
        self.no_pointer = nn.Parameter(torch.zeros(1, dim))
        self.attention = MemoryAttention(dim, memory_dim, depth, hidden)
        self.encoder = MemoryEncoder(dim, memory_dim)
        self.mask_down = nn.Conv2d(1, 1, 4, 4)
        self.pointer = Mlp(dim, dim, dim, 3)
        self.absent = nn.Parameter(torch.zeros(1, memory_dim)) if absent else None
        self.pointer_time = nn.Linear(dim, memory_dim) if absent else None
        self.perceiver = Perceiver(memory_dim, *latents, 2) if any(latents) else None

    def recall(
        self, embedding: Float[Tensor, "1 C h w"], bank: MemoryBank
    ) -> Float[Tensor, "N C h w"]:
        """The map as each object's memories change it."""
        out: Tensor = self.attention(embedding, self.tokens(embedding, bank))
        return out

    def tokens(self, embedding: Float[Tensor, "1 C h w"], bank: MemoryBank) -> Tokens:
        """A bank as the attention takes it."""
        n, frames, cells, dim = bank.spatial.shape
        positions, turns, still = self.places(embedding)
        times = self.times.flatten(1)[bank.rows]  # (N, T, D)
        rows = 1 if still else len(turns.y.cos)

        def by_rows(x: Float[Tensor, "N T K _"]) -> Float[Tensor, "N TK _"]:
            """In a row frame by frame; memories without a grid of their own stay whole."""
            return torch.unflatten(x, 2, (rows, -1)).transpose(1, 2).flatten(1, 3)

        pieces = torch.unflatten(bank.pointers, 2, (-1, dim))  # a pointer makes several tokens
        told = (pieces, pieces + self.when(bank)[:, :, None])
        placed = bank.spatial + positions + times[:, :, None]
        seen, both = (
            torch.cat([by_rows(memories), pointers.flatten(1, 2)], dim=1)
            for memories, pointers in zip((bank.spatial, placed), told, strict=True)
        )
        bias = None
        if bank.spatial_valid is not None or bank.pointer_valid is not None:
            there = [
                found if found is not None else like.new_ones(like.shape[:2], dtype=torch.bool)
                for found, like in (
                    (bank.spatial_valid, bank.spatial),
                    (bank.pointer_valid, bank.pointers),
                )
            ]
            whole = by_rows(there[0][:, :, None, None].expand(-1, -1, cells, -1))[..., 0]
            known = torch.cat([whole, there[1].repeat_interleave(pieces.shape[2], dim=1)], dim=1)
            none = seen.new_zeros(n, 1, seen.shape[1])
            bias = none.masked_fill(~known[:, None], float("-inf"))
        return Tokens(seen, both, turns, frames, still, bias)

    def when(self, bank: MemoryBank) -> Float[Tensor, "N P D"]:
        """What is added to pointers for their distance in time."""
        if self.pointer_time is None:
            return bank.spatial.new_zeros(*bank.gaps.shape, bank.spatial.shape[3])
        out: Tensor = self.pointer_time(sines_of_distance(bank.gaps, bank.pointers.shape[2]))
        return out

    def places(
        self, embedding: Float[Tensor, "1 C h w"]
    ) -> tuple[Float[Tensor, "K D"], Turns, int]:
        """Positions of a memory's tokens, how keys of its grid turn, how many come before those."""
        dim, h, w = embedding.shape[1:]
        if self.perceiver is None:
            positions = sines_of_grid(h, w, self.times.shape[3], embedding).flatten(0, 1)
            return positions, Turns.of_grid(h, w, dim, embedding), 0
        side = self.perceiver.side
        turns = Turns.of_grid(side, side, dim, embedding)
        return self.perceiver.positions(), turns, len(self.perceiver.latents)

    def pointers(
        self, vectors: Float[Tensor, "N C"], present: Float[Tensor, " N"]
    ) -> Float[Tensor, "N C"]:
        """What an object is, of the vector behind its mask; one for all objects that are absent."""
        return torch.where((present > 0)[:, None], self.pointer(vectors), self.no_pointer)

    def remember(
        self,
        embedding: Float[Tensor, "1 C h w"],
        masks: Float[Tensor, "N 1 H W"],
        present: Float[Tensor, " N"],
        binary: bool,
    ) -> Float[Tensor, "N K D"]:
        """Memories of a frame.

        Parameters
        ----------
        masks
            Logits at the network's input size.
        present
            Scores above 0 where the object is there.
        binary
            Take masks as in or out, as somebody asked for them, and not as likely or less so.
        """
        shown = (masks > 0).to(masks.dtype) if binary else masks.sigmoid()
        memory: Tensor = self.encoder(embedding, shown * _SCALE + _SHIFT)
        if self.absent is not None:
            gone = (present <= 0).to(memory.dtype)[:, None] * self.absent
            memory = memory + gone[:, :, None, None]
        if self.perceiver is None:
            return memory.flatten(2).transpose(1, 2)
        out: Tensor = self.perceiver(memory)
        return out
