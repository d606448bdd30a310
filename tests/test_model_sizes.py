"""A model at another input size: which ones it takes, its tables, its frame, its masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anymask.errors import CheckpointError, PromptError
from anymask.frame import Frame
from anymask.model import blank, load, load_variant, shapes
from anymask.predict.image import ImagePredictor
from anymask.variant_sizes import sized
from anymask.variants import VARIANTS, InputSizes, variant
from anymask.weights.convert import convert
from anymask.weights.resize import cells, offsets, resized
from anymask.weights.sam import LAYOUTS
from tiny import TINY_SAM, tiny_state, write_tiny

ROW = replace(TINY_SAM, sizes=InputSizes(step=16, smallest=32, largest=128))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("weights"))


def test_its_own_size_is_the_row_itself():
    for row in VARIANTS:
        assert sized(row, None) is row
        assert sized(row, row.spec.side) is row


@pytest.mark.parametrize("row", [row for row in VARIANTS if row.sizes], ids=lambda row: row.name)
def test_every_row_s_own_size_is_one_of_its_sizes_and_others_can_be_built(row):
    assert row.sizes.has(row.spec.side)
    other = sized(row, 512)
    assert other.name == f"{row.name}@512"
    frame = Frame.fit((300, 400), other.spec)
    assert max(frame.resized) == 512 and all(side % 32 == 0 for side in frame.padded)
    wanted = shapes(blank(other))
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in shapes(blank(row)).items()}
        found = resized(state, wanted)
    assert {name: tuple(t.shape) for name, t in found.items()} == wanted


def test_squares_stay_squares_and_rectangles_rectangles():
    assert sized(variant("sam-vit-b"), 512).spec.multiple == 512
    assert sized(variant("nano"), 512).spec.multiple == 32
    assert sized(variant("nano"), 512).network == variant("nano").network
    assert sized(variant("sam-vit-b"), 512).network["side"] == 512


@pytest.mark.parametrize("size", [0, -64, 500, 100, 4096, 64.0, True, "512"], ids=repr)
def test_a_size_that_a_row_does_not_take_is_refused_with_those_that_it_does(size):
    with pytest.raises(CheckpointError, match=r"size-unsupported.*from 256 to 2048 px in steps of"):
        sized(variant("sam-vit-b"), size)


def test_a_row_of_one_size_says_so():
    with pytest.raises(CheckpointError, match=r"size-unsupported.*64 px only.*leave size out"):
        sized(TINY_SAM, 128)


def test_a_wrong_size_is_told_before_any_file_is_read(tmp_path):
    with pytest.raises(CheckpointError, match="size-unsupported"):
        load("sam-vit-b", checkpoint=tmp_path / "none", size=100)


def test_tables_are_resized_as_vitdet_does(checkpoint):
    table = torch.randn(1, 4, 4, 8, generator=torch.Generator().manual_seed(0))
    found = cells(table, (1, 6, 6, 8))
    maps = F.interpolate(table.permute(0, 3, 1, 2), (6, 6), mode="bicubic", align_corners=False)
    assert torch.equal(found, maps.permute(0, 2, 3, 1))
    assert torch.allclose(cells(table, (1, 4, 4, 8)), table, atol=1e-6)
    lines = torch.arange(7.0)[:, None].expand(7, 3)
    assert torch.allclose(offsets(lines, (7, 3)), lines)
    wider = offsets(lines, (15, 3))
    assert wider.shape == (15, 3)
    assert torch.allclose(wider[7], lines[3])  # no offset stays no offset
    assert torch.allclose(wider, 6 - wider.flip(0), atol=1e-6)


def test_tables_of_windows_and_all_other_tensors_stay_as_they_are(checkpoint):
    model = load_variant(ROW, checkpoint=checkpoint, device="cpu", size=128)
    before, after = tiny_state(ROW), model.network.state_dict()
    changed = {name for name, tensor in after.items() if tensor.shape != before[name].shape}
    assert changed == {
        "encoder.pos_embed",
        "encoder.blocks.1.attn.rel_pos_h",
        "encoder.blocks.1.attn.rel_pos_w",
    }
    assert all(torch.equal(after[name], before[name]) for name in before.keys() - changed)


@pytest.mark.parametrize("size", [32, 48, 96, 128])
def test_every_kind_of_prompt_works_at_another_size(checkpoint, size):
    model = load_variant(ROW, checkpoint=checkpoint, device="cpu", size=size)
    predictor = ImagePredictor(model)
    embedding = predictor.encode(np.zeros((40, 60, 3), np.uint8))
    assert embedding.frame.padded == (size, size)
    assert embedding.features[0].shape[2:] == (size // 16, size // 16)
    first = predictor.predict(embedding, points=[30, 20])
    assert first.masks.shape == (3, 40, 60) and first.logits.shape == (3, size // 4, size // 4)
    predictor.predict(embedding, boxes=[5, 5, 50, 30], masks=first.best_logits)


def test_embeddings_of_another_size_are_another_model_s(checkpoint):
    one, other = (
        ImagePredictor(load_variant(ROW, checkpoint=checkpoint, device="cpu", size=size))
        for size in (None, 96)
    )
    embedding = one.encode(np.zeros((40, 60, 3), np.uint8))
    with pytest.raises(PromptError, match=r"other-model.*tiny-sam@96"):
        other.predict(embedding, points=[30, 20])


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    down, across = np.mgrid[:height, :width]
    return (across - x) ** 2 + (down - y) ** 2 <= radius**2


@pytest.mark.parametrize("size", [256, 384, 512, 768])
def test_masks_land_where_the_object_is_at_every_size(size):
    truth = disc(240, 320, 210, 90, 50)
    draw = np.random.default_rng(0)
    image = np.where(truth[..., None], (200, 60, 40), (60, 90, 140))
    image = np.clip(image + draw.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    predictor = ImagePredictor(load("nano", device="cpu", size=size))
    embedding = predictor.encode(image)
    assert max(embedding.frame.resized) == size
    for prompt in ({"points": [210, 90]}, {"boxes": [160, 40, 260, 140]}):
        mask = predictor.predict(embedding, **prompt).best_mask
        assert (mask & truth).sum() / (mask | truth).sum() > 0.93
        rows, columns = np.nonzero(mask)
        assert abs(rows.mean() - 90) < 1 and abs(columns.mean() - 210) < 1


@torch.inference_mode()
def test_at_another_size_sam_gives_what_transformers_gives():
    transformers = pytest.importorskip("transformers", reason="a peer, for this comparison alone")
    torch.manual_seed(0)
    native, other = 64, 96
    settings = transformers.SamConfig(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": other,
            "patch_size": 16,
            "window_size": 14,
            "global_attn_indexes": [1],
            "output_channels": 32,
            "mlp_dim": 128,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": other, "patch_size": 16},
        mask_decoder_config={"hidden_size": 32, "iou_head_hidden_dim": 32, "mlp_dim": 64},
    )
    theirs = transformers.SamModel(settings).eval()
    for parameter in theirs.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    # tables as a file of the native size has them: theirs are resized as they are used
    vision = theirs.vision_encoder
    attention = vision.layers[1].attn
    for name in ("rel_pos_h", "rel_pos_w"):
        setattr(attention, name, torch.nn.Parameter(torch.randn(2 * native // 16 - 1, 16)))
    table = torch.randn(1, native // 16, native // 16, 32)
    wanted = tuple(vision.pos_embed.shape)
    state = theirs.state_dict() | {"vision_encoder.pos_embed": table}
    vision.pos_embed = torch.nn.Parameter(cells(table, wanted))  # which theirs do not resize

    row = sized(ROW, other)
    network = blank(row)
    ours = resized(convert(state, LAYOUTS), shapes(network))
    network.load_state_dict(ours, strict=True, assign=True)
    x = torch.randn(1, 3, other, other)
    (embedding,) = network.encode(x)
    assert torch.allclose(embedding, theirs.get_image_embeddings(x), atol=1e-5)
    corners = torch.tensor([[[10.0, 12.0], [60.0, 70.0]]])
    wanted = theirs(
        input_boxes=corners.view(1, 1, 4), image_embeddings=embedding, multimask_output=True
    )
    logits, scores = network.decode((embedding,), corners + 0.5, torch.tensor([[2, 3]]))
    assert torch.allclose(logits[:, 1:], wanted.pred_masks[0], atol=1e-4)
    assert torch.allclose(scores[:, 1:], wanted.iou_scores[0], atol=1e-5)
