"""Two-way transformer for many prompts on one image, without a map for each of them.

What a prompt does to the image is little: a layer adds, to each cell, a mix of H M rows (of M
tokens in H heads) and normalises. So the map of a prompt after any layer is

    map[j] = scale[j] base[j] + sum_r mix[r, j] rows[r] + shift

with a `base` (K, C) and a `shift` (C) that all prompts share. Products of the base with weights are
taken once an image; each prompt pays for its `mix` (R, K) alone, and no map of C channels is ever
made. The next layer adds more rows, and its norm is gain P x / sigma + bias, P = 1 - mean over
channels, of the same form again:

    C sigma^2 = scale^2 |P base|^2 + mix . (2 scale (P rows)(P base) + (P rows)(P rows)' mix)

Attention is linear in what it reads: q . W map[j] is scale[j] (q . W base[j]) + sum_r mix[r, j]
(q . W rows[r]) + q . W shift, and the mean of values likewise. Nothing is left out: results are
those of `TwoWayTransformer`, summed in another order. A bias of what is added to the image is part
of the rows, for the weights of each head sum to 1.

Letters: P prompts, M tokens, K image cells, C channels, H heads of D channels, R rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from anymask.nn.two_way import Attention, TwoWayTransformer


class ImageMaps(NamedTuple):
    """Maps of P prompts: scale[p, j] base[j] + sum_r mix[p, r, j] rows[p, r] + shift."""

    base: Float[Tensor, "B K C"]  # of all prompts (B = 1) or of each
    shift: Float[Tensor, "1 C"]
    scale: Float[Tensor, "P K"]
    mix: Float[Tensor, "P R K"]
    rows: Float[Tensor, "P R C"]

    @classmethod
    def plain(cls, image: Float[Tensor, "B K C"], prompts: int) -> "ImageMaps":
        """Maps as they are, or one for all."""
        k, c = image.shape[1:]
        nothing = image.new_zeros(prompts, 0, k), image.new_zeros(prompts, 0, c)
        return cls(image, image.new_zeros(1, c), image.new_ones(prompts, k), *nothing)

    def through(
        self, weight: Float[Tensor, "D C"], bias: Float[Tensor, " D"] | None = None
    ) -> "ImageMaps":
        """What a linear layer makes of each cell."""
        base, rows = F.linear(self.base, weight), F.linear(self.rows, weight)
        shift = F.linear(self.shift, weight, bias)
        return self._replace(base=base, rows=rows, shift=shift)

    def take(self, index: Tensor | slice) -> "ImageMaps":
        """Those of some prompts."""
        base = self.base if self.base.shape[0] == 1 else self.base[index]
        return ImageMaps(base, self.shift, self.scale[index], self.mix[index], self.rows[index])

    @classmethod
    def join(cls, parts: "list[ImageMaps]") -> "ImageMaps":
        """Maps of other prompts on the same image, put together."""
        base, shift, *own = zip(*parts, strict=True)
        bases = base[0] if base[0].shape[0] == 1 else torch.cat(base)
        return cls(bases, shift[0], *(torch.cat(x) for x in own))

    def dense(self) -> Float[Tensor, "P K C"]:
        """Written out."""
        scaled = torch.addcmul(self.shift, self.scale[..., None], self.base)
        return torch.baddbmm(scaled, self.mix.transpose(1, 2), self.rows)


class Sides(NamedTuple):
    """Products with the image that an attention takes: of the base, and of positions and shift.

    Where all scales are 1, in the first layer, the sum of both stands for the first.
    """

    base: Float[Tensor, "H D K"]
    placed: Float[Tensor, "H D K"] | None


class Reading(NamedTuple):
    """What the prompts share of tokens' attention to the image."""

    keys: Sides
    values: Float[Tensor, "H D K"]
    value: Float[Tensor, "1 E"]  # of the shift


class Writing(NamedTuple):
    """What the prompts share of the image's attention to tokens, and of the norm after it.

    `outs` make rows of values (with a 1 for biases): those of earlier layers as they are by now,
    then the layer's own, all centred. `crosses` are their products with the centred base.
    """

    queries: Sides
    outs: tuple[Float[Tensor, "H _ C"], ...]
    crosses: tuple[Float[Tensor, "H _ K"], ...]
    square: Float[Tensor, " K"]


class SharedImage(NamedTuple):
    """What the prompts share of the transformer; the base and shift of its last layer."""

    layers: tuple[tuple[Reading, Writing], ...]
    last: Reading
    base: Float[Tensor, "1 K C"]
    shift: Float[Tensor, "1 C"]


def share(
    transformer: TwoWayTransformer,
    image: Float[Tensor, "1 K C"],
    image_pos: Float[Tensor, "1 K C"],
) -> SharedImage:
    """All work on an image that no prompt changes."""
    base, pos, shift = image[0].contiguous(), image_pos[0], torch.zeros_like(image[0, :1])
    outs: tuple[Tensor, ...] = ()
    layers: list[tuple[Reading, Writing]] = []
    for layer in transformer.blocks():
        write, norm = layer.image_to_token, layer.norm4
        sides = _sides if layers else _sum_of_sides
        reading = _reading(layer.token_to_image, sides, base, pos, shift)
        queries = sides(write.q_proj, write.heads, base, pos + shift)
        own = write.out_proj.weight.t().view(write.heads, -1, base.shape[1])
        bias = (write.out_proj.bias + shift) / write.heads
        own = torch.cat([own, bias.expand(write.heads, 1, -1)], dim=1)
        base = _centred(base)
        outs = tuple(_centred(out) for out in (*outs, own))
        crosses = tuple(out @ base.t() for out in outs)
        layers.append((reading, Writing(queries, outs, crosses, base.square().sum(-1))))
        base, shift = base * norm.weight, norm.bias[None]
        outs = tuple(out * norm.weight for out in outs)
    last = _reading(transformer.final, _sides, base, pos, shift)
    return SharedImage(tuple(layers), last, base[None], shift)


def look_shared(
    transformer: TwoWayTransformer, shared: SharedImage, tokens: Float[Tensor, "P M C"]
) -> tuple[Float[Tensor, "P M C"], ImageMaps]:
    """What the transformer makes of the tokens and of the image."""
    placed = tokens
    maps = ImageMaps.plain(shared.base, tokens.shape[0])
    values: tuple[Tensor, ...] = ()
    for layer, (reading, writing) in zip(transformer.blocks(), shared.layers, strict=True):
        tokens = layer.norm1(layer.among(tokens, placed))
        tokens = tokens + _read(layer.token_to_image, reading, maps, tokens + placed)
        tokens = layer.think(tokens)
        attention = layer.image_to_token
        keys = attention.k_proj(tokens + placed)
        weights = _scores(keys, attention.heads, writing.queries, attention.q_proj, maps).softmax(2)
        own = _by_head(attention.v_proj(tokens), attention.heads)
        values = (*values, F.pad(own, (0, 1), value=1.0))
        maps = _added(maps, weights, values, writing, layer.norm4)
    looked = _read(transformer.final, shared.last, maps, tokens + placed)
    maps = maps._replace(base=shared.base, shift=shared.shift)
    return transformer.norm(tokens + looked), maps


def _read(
    attention: Attention,
    reading: Reading,
    maps: ImageMaps,
    tokens: Float[Tensor, "P M C"],
) -> Float[Tensor, "P M C"]:
    """`attention` of tokens to maps."""
    p, m = tokens.shape[:2]
    queries = attention.q_proj(tokens)
    weights = _scores(queries, attention.heads, reading.keys, attention.k_proj, maps).softmax(3)
    scaled = (weights * maps.scale[:, None, None]).transpose(0, 1).flatten(1, 2)
    seen = _by_prompt(scaled @ reading.values.transpose(1, 2), p)  # (P, H, M, D)
    rows = _by_head(F.linear(maps.rows, attention.v_proj.weight), attention.heads)
    shares = weights.flatten(1, 2) @ maps.mix.transpose(1, 2)
    seen = seen + torch.unflatten(shares, 1, (attention.heads, m)) @ _by_prompt(rows, p)
    out: Tensor = attention.out_proj(seen.transpose(1, 2).flatten(2) + reading.value)
    return out


def _scores(
    asked: Float[Tensor, "P M E"],
    heads: int,
    sides: Sides,
    projection: nn.Linear,
    maps: ImageMaps,
) -> Float[Tensor, "P H M K"]:
    """Scaled products of projected tokens with projected maps."""
    p, m, width = asked.shape
    own = _by_head(asked * (width // heads) ** -0.5, heads)  # (H, P M, D)
    rows = _by_head(F.linear(maps.rows, projection.weight), heads)
    folded = _by_prompt(own, p) @ _by_prompt(rows, p).transpose(2, 3)  # (P, H, M, R)
    total = torch.unflatten(folded.flatten(1, 2) @ maps.mix, 1, (heads, m))
    scale = maps.scale[:, None, None]
    total = total.addcmul_(_by_prompt(own @ sides.base, p), scale)
    return total if sides.placed is None else total.add_(_by_prompt(own @ sides.placed, p))


def _added(
    maps: ImageMaps,
    weights: Float[Tensor, "P H M K"],
    values: tuple[Float[Tensor, "H PM _"], ...],
    writing: Writing,
    norm: nn.LayerNorm,
) -> ImageMaps:
    """Maps after a layer's rows and norm; base and shift are the caller's."""
    p = weights.shape[0]
    mix = torch.cat([maps.mix, weights.flatten(1, 2)], dim=1)
    rows = torch.cat(
        [_by_prompt(v @ out, p).flatten(1, 2) for v, out in zip(values, writing.outs, strict=True)],
        dim=1,
    )  # centred
    spread = (rows @ rows.transpose(1, 2)) @ mix
    twice = 2 * maps.scale[:, None, None]
    parts = torch.unflatten(spread, 1, (len(values), *weights.shape[1:3]))
    for i, (v, cross) in enumerate(zip(values, writing.crosses, strict=True)):
        parts[:, i].addcmul_(_by_prompt(v @ cross, p), twice)
    total = maps.scale.square() * writing.square + spread.mul_(mix).sum(1)
    shrink = (total / rows.shape[2] + norm.eps).rsqrt()
    return maps._replace(
        scale=maps.scale * shrink, mix=mix * shrink[:, None], rows=rows * norm.weight
    )


def _sides(
    projection: nn.Linear,
    heads: int,
    base: Float[Tensor, "K C"],
    placed: Float[Tensor, "K C"],
) -> Sides:
    of_placed = torch.addmm(projection.bias[:, None], projection.weight, placed.t())
    both = projection.weight @ base.t(), of_placed
    return Sides(*(torch.unflatten(x, 0, (heads, -1)) for x in both))


def _sum_of_sides(
    projection: nn.Linear,
    heads: int,
    base: Float[Tensor, "K C"],
    placed: Float[Tensor, "K C"],
) -> Sides:
    both = torch.addmm(projection.bias[:, None], projection.weight, (base + placed).t())
    return Sides(torch.unflatten(both, 0, (heads, -1)), None)


def _reading(
    attention: Attention,
    sides: Callable[[nn.Linear, int, Tensor, Tensor], Sides],
    base: Float[Tensor, "K C"],
    pos: Float[Tensor, "K C"],
    shift: Float[Tensor, "1 C"],
) -> Reading:
    keys = sides(attention.k_proj, attention.heads, base, pos + shift)
    values = torch.unflatten(attention.v_proj.weight @ base.t(), 0, (attention.heads, -1))
    return Reading(keys, values, attention.v_proj(shift))


def _centred(x: Float[Tensor, "*N C"]) -> Float[Tensor, "*N C"]:
    return x - x.mean(-1, keepdim=True)


def _by_head(x: Float[Tensor, "P M E"], heads: int) -> Float[Tensor, "H PM D"]:
    """Channels split into heads, heads first, for products with what prompts share."""
    return torch.unflatten(x, 2, (heads, -1)).permute(2, 0, 1, 3).flatten(1, 2)


def _by_prompt(x: Float[Tensor, "H PM D"], prompts: int) -> Float[Tensor, "P H M D"]:
    """The same with prompts first, as a view."""
    return torch.unflatten(x, 1, (prompts, -1)).transpose(0, 1)
