"""Nano: our own small promptable network; image and clicks in, four masks and scores out.

    encode  image (B, 3, H, W)            -> six maps (see encoders/nano.py)
    decode  maps, points, labels, masks   -> logits (P, 4, H/4, W/4), predicted IoU (P, 4)

The decoder is a small coarse-to-fine network on [image part + prompt maps] (prompt_maps.py):
attention and convolutions at stride 16, modulated by a global context; a residual convolution
each at strides 8 and 4. Output 0 is trained as the answer to clear prompts (box, several
clicks), outputs 1..3 as alternatives to a single click, the best of which is rewarded (Guzman-
Rivera et al. 2012), as in SAM (arXiv:2304.02643). A head predicts each output's IoU.

Sides of the input must be multiples of 32.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.encoders.nano import PARTS, GlobalAttention, NanoEncoder, leaky, up2
from anymask.nn.prompt_maps import FINE, LIKE, WHERE, fine_maps, like_maps, where_maps

OUTPUTS = 4
_CPU_PROMPTS = 4  # looked at together: what they need stays in the cache
_FACTS = 7  # numbers about the prompt that the context sees
_STATS = 4  # numbers about an output that its score sees


class NanoDecoder(nn.Module):
    """Prompt maps and the image's parts to logits and scores."""

    def __init__(self) -> None:
        super().__init__()
        d16, d8, d4 = PARTS
        self.where16 = nn.Conv2d(WHERE + LIKE, d16, 3, padding=1, bias=False)
        self.attention = GlobalAttention(d16, heads=4)
        self.wide = nn.Conv2d(d16, d16, 3, padding=1)
        self.context = nn.Linear(2 * d16 + _FACTS, d16)
        self.modulate = nn.Linear(d16, 2 * d16)
        self.mix16 = nn.Conv2d(d16, d16, 3, padding=1)
        self.out16 = nn.Conv2d(d16, d16, 3, padding=1)
        self.where8 = nn.Conv2d(WHERE + LIKE, d8, 1, bias=False)
        self.down8 = nn.Conv2d(d16, d8, 1, bias=False)
        self.mix8 = nn.Conv2d(d8, d8, 3, padding=1)
        self.where4 = nn.Conv2d(FINE + LIKE, d4, 1, bias=False)
        self.down4 = nn.Conv2d(d8, d4, 1, bias=False)
        self.mix4 = nn.Conv2d(d4, d4, 3, padding=1)
        self.logits = nn.Conv2d(d4, OUTPUTS, 1)
        self.score = nn.Sequential(
            nn.Linear(d8 + d16 + _STATS + OUTPUTS, 96), nn.ReLU(), nn.Linear(96, 1)
        )
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(
        self,
        features: tuple[Float[Tensor, "B _ _ _"], ...],
        points: Float[Tensor, "B P N 2"],
        labels: Int[Tensor, "B P N"],
        masks: Float[Tensor, "B P H W"] | None,
    ) -> tuple[Float[Tensor, "B P 4 H W"], Float[Tensor, "B P 4"]]:
        """Masks are logits at stride 4, or None."""
        f16, f8, f4, k16, k8, k4 = features
        b, p = points.shape[:2]
        (h, w), device = f4.shape[-2:], points.device
        flat = points.flatten(0, 1), labels.flatten(0, 1)
        box, has_box = split_box(*flat)
        if masks is None:
            prev4 = torch.full((b * p, 1, h, w), 0.5, device=device, dtype=f4.dtype)
            has_prev = torch.zeros(b * p, device=device, dtype=f4.dtype)
        else:
            prev4 = masks.reshape(b * p, 1, h, w).sigmoid()
            has_prev = torch.ones(b * p, device=device, dtype=f4.dtype)
        prev8 = F.avg_pool2d(prev4, 2)
        prompt = (*flat, box, has_box)
        where8, guess8, other8 = where_maps(*prompt, prev8[:, 0], has_prev, 8)
        both8 = torch.stack([guess8, other8], dim=1)
        where16, both16 = F.avg_pool2d(where8, 2), F.avg_pool2d(both8, 2)
        both4 = up2(both8)
        fine4 = fine_maps(*prompt, prev4[:, 0], has_prev, 4)

        def with_likes(maps: Tensor, keys: Tensor, both: Tensor, stride: int) -> Tensor:
            guesses = both.view(b, p, *both.shape[1:])
            like = like_maps(keys, points, labels, guesses[:, :, 0], guesses[:, :, 1], stride)
            both_maps = torch.cat([maps, like.flatten(0, 1)], dim=1)
            return both_maps.contiguous(memory_format=torch.channels_last)

        x = leaky(share(f16, p) + self.where16(with_likes(where16, k16, both16, 16)))
        x = self.attention(x)
        y = leaky(self.wide(F.avg_pool2d(x, 2, ceil_mode=True)))
        facts = prompt_facts(labels.flatten(0, 1), box, has_box, has_prev, (4 * h, 4 * w))
        g = leaky(self.context(torch.cat([x.mean((2, 3)), x.amax((2, 3)), facts], dim=1)))
        scale, shift = self.modulate(g)[..., None, None].chunk(2, dim=1)
        wide = F.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)
        x = leaky(x + self.out16(leaky(self.mix16(x + wide)) * (1 + scale) + shift))

        y = share(f8, p) + self.where8(with_likes(where8, k8, both8, 8)) + up2(self.down8(x))
        y = leaky(y)
        y = y + leaky(self.mix8(y))
        z = share(f4, p) + self.where4(with_likes(fine4, k4, both4, 4)) + up2(self.down4(y))
        z = leaky(z)
        z = z + leaky(self.mix4(z))
        logits = self.logits(z)
        scores = self.scores(logits, y, g)
        return logits.view(b, p, OUTPUTS, h, w), scores.view(b, p, OUTPUTS)

    def scores(
        self,
        logits: Float[Tensor, "Q 4 H W"],
        y: Float[Tensor, "Q C h8 w8"],
        g: Float[Tensor, "Q D"],
    ) -> Float[Tensor, "Q 4"]:
        """Predicted IoU; masks and statistics are looked at, not taught, by this head."""
        q = logits.shape[0]
        with torch.no_grad():
            prob = logits.sigmoid()
            mass = prob.sum((2, 3))
            hard = (logits > 0).to(prob.dtype)
            stats = torch.stack(
                [
                    prob.mean((2, 3)).sqrt(),
                    (prob * hard).sum((2, 3)) / hard.sum((2, 3)).clamp_min(1),
                    (prob * (1 - prob)).sum((2, 3)) / mass.clamp_min(1e-3),
                    hard.mean((2, 3)).sqrt(),
                ],
                dim=-1,
            )  # (Q, 4, 4)
            weight = F.avg_pool2d(prob, 2).flatten(2)  # (Q, 4, h8 w8)
            weight = weight / weight.sum(-1, keepdim=True).clamp_min(1e-3)
        inside = weight @ y.flatten(2).transpose(1, 2)  # (Q, 4, C)
        which = torch.eye(OUTPUTS, device=g.device, dtype=g.dtype).expand(q, -1, -1)
        context = g[:, None].expand(-1, OUTPUTS, -1)
        known: Tensor = self.score(torch.cat([inside, context, stats, which], dim=-1))
        return known[..., 0].sigmoid()


def share(part: Float[Tensor, "B C h w"], prompts: int) -> Float[Tensor, "Q C h w"]:
    """One image's part for each of its prompts, channels-last as the convolutions like it."""
    b, c, h, w = part.shape
    if b == 1:
        return part.expand(prompts, -1, -1, -1)
    rows = part.permute(0, 2, 3, 1)[:, None].expand(-1, prompts, -1, -1, -1)
    return rows.reshape(b * prompts, h, w, c).permute(0, 3, 1, 2)


def split_box(
    points: Float[Tensor, "Q N 2"], labels: Int[Tensor, "Q N"]
) -> tuple[Float[Tensor, "Q 4"], Float[Tensor, " Q"]]:
    """The box among the points (corner labels 2 and 3) and whether there is one (0 or 1)."""
    first = (labels == 2).to(points.dtype)
    last = (labels == 3).to(points.dtype)
    box = torch.cat([(points * m[..., None]).sum(1) for m in (first, last)], dim=-1)
    return box, first.amax(1)


def prompt_facts(
    labels: Int[Tensor, "Q N"],
    box: Float[Tensor, "Q 4"],
    has_box: Float[Tensor, " Q"],
    has_prev: Float[Tensor, " Q"],
    size: tuple[int, int],
) -> Float[Tensor, "Q 7"]:
    """Counts and sizes: clicks of each kind, box or not and how large, previous mask or not."""
    dtype = has_box.dtype
    sides = (box[:, 2:] - box[:, :2]) / max(size)
    return torch.stack(
        [
            (labels == 1).to(dtype).sum(1) / 4,
            (labels == 0).to(dtype).sum(1) / 4,
            has_box,
            has_prev,
            sides[:, 0],
            sides[:, 1],
            (sides[:, 0] * sides[:, 1]).clamp_min(0).sqrt(),
        ],
        dim=1,
    )


class Nano(nn.Module):
    """Encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = NanoEncoder()
        self.decoder = NanoDecoder()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def encode(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B _ _ _"], ...]:
        """Image (normalised by its row's spec) to the six maps."""
        maps: tuple[Tensor, ...] = self.encoder(x.contiguous(memory_format=torch.channels_last))
        return maps

    def decode(
        self,
        features: tuple[Float[Tensor, "1 _ _ _"], ...],
        points: Float[Tensor, "P N 2"],
        labels: Int[Tensor, "P N"],
        masks: Float[Tensor, "P 1 H W"] | None = None,
    ) -> tuple[Float[Tensor, "P 4 H W"], Float[Tensor, "P 4"]]:
        """Prompts on one image: logits at stride 4 and predicted IoU."""
        prev = None if masks is None else masks[None, :, 0]
        logits, scores = self.decoder(features, points[None], labels[None], prev)
        return logits[0], scores[0]

    def look(
        self,
        features: tuple[Float[Tensor, "1 _ _ _"], ...],
        points: Float[Tensor, "P N 2"],
        labels: Int[Tensor, "P N"],
        masks: Float[Tensor, "P 1 H W"] | None = None,
    ) -> tuple[tuple[Float[Tensor, "P 4 H W"]], Float[Tensor, "P 4"]]:
        """What `decode` gives, a few prompts at a time: scores are made from the logits."""
        at_once = _CPU_PROMPTS if points.is_cpu else max(1, len(points))
        parts = []
        for start in range(0, max(1, len(points)), at_once):
            some = slice(start, start + at_once)
            previous = None if masks is None else masks[some]
            parts.append(self.decode(features, points[some], labels[some], previous))
        logits, scores = (torch.cat(part) for part in zip(*parts, strict=True))
        return (logits,), scores

    def draw(
        self, state: tuple[Tensor, ...], rows: Int[Tensor, " K"], outputs: Int[Tensor, " K"]
    ) -> Float[Tensor, "K H W"]:
        """Logits of chosen (prompt, output) pairs of a `look`."""
        return state[0][rows, outputs]


def build_nano() -> Nano:
    """The one shape that nano has."""
    return Nano()
