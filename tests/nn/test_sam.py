"""SAM put together, at tiny size: what a caller may rely on whatever the weights are."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from random_modules import noise
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from anymask.nn.sam import Sam, build_sam
from anymask.nn.two_way import Attention

SIDE, CELLS, DIM = 96, 6, 32


def tiny() -> Sam:
    network = build_sam(
        dim=32, depth=2, heads=2, global_blocks=(1,), side=SIDE, window=4, out_dim=DIM, hidden=64
    )
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=i, scale=0.3))
        network.prompt_encoder.position.matrix.copy_(noise(2, DIM // 2, seed=99))
    return network.eval()


@pytest.fixture(scope="module")
def network():
    return tiny()


@pytest.fixture(scope="module")
def features(network):
    with torch.inference_mode():
        return network.encode(noise(1, 3, SIDE, SIDE))


def prompts(count: int, points: int = 2) -> tuple[Tensor, Tensor]:
    xy = torch.rand(count, points, 2, generator=torch.Generator().manual_seed(3)) * SIDE
    return xy, torch.arange(count * points).view(count, points) % 5 - 1


def test_sizes_are_those_of_the_docstring(network, features):
    (embedding,) = features
    assert embedding.shape == (1, DIM, CELLS, CELLS)
    with torch.inference_mode():
        logits, scores = network.decode(features, *prompts(3))
    assert logits.shape == (3, 4, 4 * CELLS, 4 * CELLS)
    assert scores.shape == (3, 4)


@torch.inference_mode()
@pytest.mark.parametrize("masked", [False, True], ids=["points", "points and masks"])
def test_prompts_together_give_what_each_gives_alone(network, features, masked):
    xy, labels = prompts(5)
    masks = noise(5, 1, 4 * CELLS, 4 * CELLS) if masked else None
    together = network.decode(features, xy, labels, masks)
    for i in range(5):
        one = slice(i, i + 1)
        alone = network.decode(features, xy[one], labels[one], masks[one] if masked else None)
        for a, b in zip(alone, together, strict=True):
            assert torch.allclose(a, b[one], atol=1e-4)


@torch.inference_mode()
def test_the_order_of_points_does_not_matter(network, features):
    xy, labels = prompts(1, 4)
    order = [2, 0, 3, 1]
    a = network.decode(features, xy, labels)
    b = network.decode(features, xy[:, order], labels[:, order])
    assert all(torch.allclose(x, y, atol=1e-4) for x, y in zip(a, b, strict=True))


@torch.inference_mode()
def test_where_a_padding_point_lies_does_not_matter(network, features):
    labels = torch.tensor([[1, -1]])
    a, b = torch.tensor([[[9.0, 8.0], [0.0, 0.0]]]), torch.tensor([[[9.0, 8.0], [70.0, 3.0]]])
    assert torch.equal(
        network.decode(features, a, labels)[0], network.decode(features, b, labels)[0]
    )


@torch.inference_mode()
def test_a_mask_alone_is_a_prompt(network, features):
    nothing = torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.int64)
    masks = noise(2, 1, 4 * CELLS, 4 * CELLS, scale=5)
    logits, _ = network.decode(features, *nothing, masks)
    assert logits.shape[0] == 2 and not torch.allclose(logits[0], logits[1])


@torch.inference_mode()
def test_previous_logits_move_the_answer(network, features):
    xy, labels = prompts(1)
    first, _ = network.decode(features, xy, labels)
    again, _ = network.decode(features, xy, labels, first[:, :1])
    assert not torch.allclose(first, again, atol=1e-3)


@torch.inference_mode()
def test_no_prompts_at_all_give_nothing_of_full_shape(network, features):
    xy, labels = prompts(2)
    logits, scores = network.decode(features, xy[:0], labels[:0])
    assert logits.shape == (0, 4, 4 * CELLS, 4 * CELLS) and scores.shape == (0, 4)


PAIRS = [
    ([2, 0, 2, 4], [1, 0, 3, 1]),
    ([4], [2]),
    ([], []),
    ([0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4, [0, 1, 2, 3] * 5),
]


@torch.inference_mode()
@pytest.mark.parametrize("pairs", PAIRS, ids=["some", "one", "none", "all"])
@pytest.mark.parametrize("masked", [False, True], ids=["points", "points and masks"])
def test_a_look_and_a_draw_are_a_decode(network, features, pairs, masked):
    masks = noise(5, 1, 4 * CELLS, 4 * CELLS) if masked else None
    logits, scores = network.decode(features, *prompts(5), masks)
    state, known = network.look(features, *prompts(5), masks)
    assert all(part.shape[0] in (1, 5) for part in state)
    assert torch.allclose(known, scores, atol=1e-5)
    rows, outputs = (torch.tensor(numbers, dtype=torch.int64) for numbers in pairs)
    drawn = network.draw(state, rows, outputs)
    assert drawn.shape == (len(rows), 4 * CELLS, 4 * CELLS)
    assert torch.allclose(drawn, logits[rows, outputs], atol=1e-5)


class Products(TorchDispatchMode):
    """Notes how many rows go through linear layers whose input has the image's channels."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.addmm, torch.ops.aten.linear):
            self.rows.append(out.numel() // out.shape[-1])
        return out


@torch.no_grad()
def test_prompts_share_the_work_on_the_image_until_they_change_it(network, features):
    cells, count = CELLS**2, 7
    with Products() as seen:
        network.decode(features, *prompts(count))
    per_image = [rows for rows in seen.rows if rows == cells]
    per_prompt = [rows for rows in seen.rows if rows == cells * count]
    # first layer: keys and values for the tokens, queries of the image; all other work on cells is
    # the way back of the first layer, four maps in the second, and two in the last look
    assert len(per_image) == 3
    assert len(per_prompt) == 1 + 4 + 2


@torch.inference_mode()
def test_attention_with_one_image_for_all_is_that_with_copies():
    attention = Attention(DIM, 4, shrink=2)
    q, k, v = noise(5, 3, DIM), noise(1, 9, DIM, seed=2), noise(1, 9, DIM, seed=3)
    copies = k.expand(5, -1, -1).contiguous(), v.expand(5, -1, -1).contiguous()
    assert torch.allclose(attention(q, k, v), attention(q, *copies), atol=1e-6)
    assert torch.allclose(attention(k, q, q), attention(copies[0], q, q), atol=1e-6)


def test_gradients_reach_every_parameter():
    network = tiny().train()
    xy, labels = prompts(5)
    x = noise(1, 3, SIDE, SIDE)
    first, scores = network.decode(network.encode(x), xy, labels)
    again, _ = network.decode(network.encode(x), xy, labels, first[:, :1])
    (first.square().mean() + again.square().mean() + scores.square().mean()).backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_threads_decode_the_same_bits(network, features):
    xy, labels = prompts(3)

    def decode(_: int) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network.decode(features, xy, labels)[0]
            return logits

    alone = decode(0)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(alone, other) for other in pool.map(decode, range(20)))


class Decode(torch.nn.Module):
    """`Sam.decode` as a module, which is what export takes."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, embedding: Tensor, xy: Tensor, labels: Tensor, masks: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.network.decode((embedding,), xy, labels, masks)


@torch.no_grad()
def test_the_decoder_exports_for_any_number_of_prompts_and_points(network, features):
    xy, labels = prompts(3, 2)
    p, n = torch.export.Dim("p", min=2, max=64), torch.export.Dim("n", min=2, max=64)
    given = features[0].clone(), xy, labels, noise(3, 1, 4 * CELLS, 4 * CELLS)
    shapes = (None, {0: p, 1: n}, {0: p, 1: n}, {0: p})
    program = torch.export.export(Decode(network), given, dynamic_shapes=shapes)
    more = features[0].clone(), *prompts(5, 4), noise(5, 1, 4 * CELLS, 4 * CELLS)
    for a, b in zip(program.module()(*more), Decode(network)(*more), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@torch.inference_mode()
def test_points_keep_their_place_in_half_precision(network):
    half = tiny().to(torch.bfloat16).prompt_encoder
    whole = tiny().prompt_encoder
    whole.position.matrix.copy_(half.position.matrix)
    places = torch.linspace(0, SIDE, 50).view(1, -1, 1).expand(1, -1, 2).contiguous()
    labels = torch.ones(1, 50, dtype=torch.int64)
    a, b = half.position(places / SIDE), whole.position(places / SIDE)
    assert (a.float() - b).abs().max() <= 2**-8  # rounded once, at the end
    assert half.sparse(places, labels).dtype == torch.bfloat16


@torch.inference_mode()
def test_half_precision_stays_near(network, features):
    xy, labels = prompts(4)
    whole, _ = network.decode(features, xy, labels)
    half, _ = tiny().to(torch.bfloat16).decode((features[0].bfloat16(),), xy, labels)
    assert F.cosine_similarity(whole.flatten(), half.float().flatten(), 0) > 0.99
