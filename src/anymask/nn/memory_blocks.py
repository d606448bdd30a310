"""Attention on a CPU, block by block: values of another width than keys, keys of rows of a grid.

    out = sum_j exp(q . k_j) v_j / sum_j exp(q . k_j), block by block, scaled to the largest so far

PyTorch's kernel for CPUs takes no values of another width than its keys have, and writes all
products into memory where it must do without it. The blocks are those of Rabe and Staats 2021
(arXiv:2112.05682).

Half of each query and key turns with x, half with y (`anymask.nn.rotary`). Keys in one row of the
grid, of whatever frame, turn by the same angles with y. So for them turning and the linear layer
can be done to the query instead, once a row:

    q_y . R_y (W m + b) = (W' R_y' q_y) . m + q_y . R_y b

Tokens m have a quarter of the channels: where more tokens share a row than a half has channels,
products get cheaper. Nothing is left out; results are those of the plain formula, summed in another
order.

Letters: Q queries, S tokens, G groups of L tokens, C channels of queries and keys, D of tokens.
"""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from anymask.nn.rotary import ApartLinear, Axis

# Queries of a thread, and keys, whose products exist at one time: 2 MB. Each step waits for the
# slowest thread, so that where there are several, fewer and larger ones are quicker.
_QUERIES, _KEYS = 1024, 512

Blocks = Iterable[tuple[Float[Tensor, "Q L"], Float[Tensor, "L D"]]]


def gathered(blocks: Blocks, like: Float[Tensor, "Q C"], width: int) -> Float[Tensor, "Q D"]:
    """Values of blocks, mixed by the exponentials of their products; products are written over."""
    top = like.new_full((len(like), 1), torch.finfo(like.dtype).min)
    total, read = like.new_zeros(len(like), 1), like.new_zeros(len(like), width)
    for products, values in blocks:
        higher = torch.maximum(top, products.amax(1, keepdim=True))
        shares = products.sub_(higher).exp_()
        shrink = (top - higher).exp_()
        total = total * shrink + shares.sum(1, keepdim=True)
        read = torch.addmm(read * shrink, shares, values)
        top = higher
    return read / total


def suits(x: Tensor) -> bool:
    """Whether blocks are the way: on a CPU, where no gradients are wanted and nothing is traced."""
    return x.is_cpu and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def split(q: Float[Tensor, "Q C"]) -> tuple[Float[Tensor, "_ C"], ...]:
    """Queries, scaled, in parts that all threads work on together."""
    scaled = q * q.shape[1] ** -0.5
    return tuple(scaled.split(_QUERIES * torch.get_num_threads()))


def plain_blocks(
    q: Float[Tensor, "Q C"],
    k: Float[Tensor, "S C"],
    v: Float[Tensor, "S D"],
    bias: Float[Tensor, "1 S"] | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Products of scaled queries with keys; each is made where the last one was."""
    room = q.new_empty(len(q) * min(_KEYS, len(k)))
    for start in range(0, len(k), _KEYS):
        some = slice(start, start + _KEYS)
        keys = k[some].t()
        products = torch.mm(q, keys, out=room[: len(q) * keys.shape[1]].view(len(q), -1))
        yield products if bias is None else products.add_(bias[:, some]), v[some]


def mix_blocks(
    q: Float[Tensor, "Q C"],
    k: Float[Tensor, "S C"],
    v: Float[Tensor, "S D"],
    bias: Float[Tensor, "1 S"] | None,
) -> Float[Tensor, "Q D"]:
    """Attention."""
    width = v.shape[1]
    return torch.cat([gathered(plain_blocks(some, k, v, bias), some, width) for some in split(q)])


def mix_rows(
    q: Float[Tensor, "Q C"],
    tokens: tuple[Float[Tensor, "G F w D"], Float[Tensor, "G L D"]],
    layer: ApartLinear,
    axes: tuple[Axis, Axis],
    still: tuple[Float[Tensor, "S C"], Float[Tensor, "S D"]],
    bias: Float[Tensor, "1 T"] | None,
) -> Float[Tensor, "Q D"]:
    """Attention to tokens in G rows of w columns, F frames each.

    Parameters
    ----------
    tokens
        What keys are made of, and what is read; L = F w.
    layer
        That of the keys.
    axes
        How keys turn with x and with y.
    still
        Keys and values behind those of the rows, which do not turn.
    bias
        Of all tokens, those of the rows first.
    """
    placed, seen = tokens
    with_x, with_y = layer.halves()
    x_axis, y_axis = axes
    keys = x_axis.turned(with_x(placed)).flatten(1, 2).transpose(1, 2)  # (G, C/2, L)
    asked = torch.cat([with_y.weight.t(), with_y.bias[None]])  # (D + 1, C/2)
    turned = y_axis.across().turned(asked).flatten(0, 1)  # (G (D + 1), C/2)
    ones = placed.new_ones(*placed.shape[:3], 1)
    contents = torch.cat([placed, ones], dim=3).flatten(1, 2).transpose(1, 2)  # (G, D + 1, L)
    rows, inside = len(seen), seen.shape[0] * seen.shape[1]
    biases = None if bias is None else bias[:, :inside].view(rows, 1, -1)

    def blocks(some: Float[Tensor, "Q C"]) -> Iterator[tuple[Tensor, Tensor]]:
        of_x, of_y = some.chunk(2, dim=1)
        wanted = torch.unflatten(of_y @ turned.t(), 1, (rows, -1))  # (Q, G, D + 1)
        room = some.new_empty(len(some), keys.shape[2])
        for row in range(rows):
            products = torch.mm(of_x, keys[row], out=room).addmm_(wanted[:, row], contents[row])
            yield products if biases is None else products.add_(biases[row]), seen[row]
        yield from plain_blocks(some, *still, None if bias is None else bias[:, inside:])

    return torch.cat([gathered(blocks(some), some, seen.shape[2]) for some in split(q)])
