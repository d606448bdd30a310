"""What SAM 2 and EdgeTAM have for videos: memories of frames, and attention to them.

So far these modules hold the tensors that official weight files bring, under the names they keep,
so that a file is checked as a whole and nothing of it is lost. They compute nothing yet: images
need none of it.

    frame's map + mask -> MemoryEncoder -> memory; map, memories, pointers -> MemoryAttention -> map

Ravi et al. 2024, SAM 2 (arXiv:2408.00714); Zhou et al. 2025, EdgeTAM (arXiv:2501.07256), for the
perceiver that shrinks memories.
"""

from itertools import pairwise

import torch
from torch import nn

from anymask.nn.layers import LayerNorm2d, Mlp


class Projections(nn.Module):
    """Linear layers of an attention whose keys and values may be narrower than its queries."""

    def __init__(self, dim: int, key_dim: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(key_dim, dim)
        self.v_proj = nn.Linear(key_dim, dim)
        self.out_proj = nn.Linear(dim, dim)


class MemoryLayer(nn.Module):
    """Attention among a frame's cells, attention to memories, MLP."""

    def __init__(self, dim: int, memory_dim: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Projections(dim, dim)
        self.cross_attn = Projections(dim, memory_dim)
        self.lin1, self.lin2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))


class MemoryAttention(nn.Module):
    """Layers and a last norm."""

    def __init__(self, dim: int, memory_dim: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryLayer(dim, memory_dim, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)


class Mixer(nn.Module):
    """A ConvNeXt block: depthwise convolution, norm, MLP, scale."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = LayerNorm2d(dim)
        self.lin1, self.lin2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.scale = nn.Parameter(torch.ones(dim))


class MemoryEncoder(nn.Module):
    """A frame's map and its mask, brought to the map's size, to a memory."""

    def __init__(self, dim: int, memory_dim: int) -> None:
        super().__init__()
        widths = [4**i for i in range(5)]  # a quarter of the cells, four times the channels
        self.mask_convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.mask_norms = nn.ModuleList(LayerNorm2d(b) for b in widths[1:])
        self.mask_out = nn.Conv2d(widths[-1], dim, 1)
        self.frame = nn.Conv2d(dim, dim, 1)
        self.mixers = nn.ModuleList(Mixer(dim) for _ in range(2))
        self.out = nn.Conv2d(dim, memory_dim, 1)


class PerceiverAttention(nn.Module):
    """Attention of latents; `norm_seen` is of what they look at, where that is not themselves."""

    def __init__(self, dim: int, looks_out: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.norm_seen = nn.LayerNorm(dim) if looks_out else None
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)


class PerceiverMlp(nn.Module):
    """Norm and MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.lin1 = nn.Linear(dim, 4 * dim, bias=False)
        self.lin2 = nn.Linear(4 * dim, dim, bias=False)


class PerceiverLayer(nn.Module):
    """Latents look at the memory, then at each other."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.attn = PerceiverAttention(dim, looks_out=True)
        self.mlp = PerceiverMlp(dim)
        self.self_attn = PerceiverAttention(dim, looks_out=False)
        self.self_mlp = PerceiverMlp(dim)


class Perceiver(nn.Module):
    """A memory of 64 x 64 cells to `latents` that see all of it and `latents_2d` in a grid."""

    def __init__(self, dim: int, latents: int, latents_2d: int, depth: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(latents, dim))
        self.latents_2d = nn.Parameter(torch.zeros(latents_2d, dim))
        self.layers = nn.ModuleList(PerceiverLayer(dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)


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
        self.no_position = nn.Parameter(torch.zeros(1, 1, dim))
        self.no_pointer = nn.Parameter(torch.zeros(1, dim))
        self.attention = MemoryAttention(dim, memory_dim, depth, hidden)
        self.encoder = MemoryEncoder(dim, memory_dim)
        self.mask_down = nn.Conv2d(1, 1, 4, 4)
        self.pointer = Mlp(dim, dim, dim, 3)
        self.absent = nn.Parameter(torch.zeros(1, memory_dim)) if absent else None
        self.pointer_time = nn.Linear(dim, memory_dim) if absent else None
        self.perceiver = Perceiver(memory_dim, *latents, 2) if any(latents) else None
