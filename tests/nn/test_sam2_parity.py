"""SAM 2 and EdgeTAM on images give the recorded numbers of the official code.

Synthetic weights go through a file in the official layout, `load` and `ImagePredictor`. Bounds are
those of the reference data's own page: about ten times the spread between its authors' runs.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anymask.mask_rle import decode_rle
from anymask.model import load_variant
from anymask.nn.resize import smooth, upscale
from anymask.predict.everything import MaskGenerator
from anymask.predict.image import ImagePredictor
from anymask.prompts import network_points
from anymask.variants import variant
from conftest import SHARED
from official_weights import official_state

FOLDER = SHARED / "goldens" / "sam2" if SHARED else Path()
# 2.0 and 2.1 differ in nothing that images see: one record serves both
RECORDED = (
    [
        ("sam2.1_hiera_tiny", "sam2.1-tiny", "sam2.1_hiera_tiny"),
        ("sam2.1_hiera_tiny", "sam2-tiny", "sam2_hiera_tiny"),
        ("edgetam", "edgetam", "edgetam"),
    ]
    if SHARED
    else []
)
PHOTOS = ("truck", "groceries")
FEATURES = 1e-5  # of the largest value
LOGITS, SCORES, OBJECT, TOKENS = 1e-3, 3e-5, 5e-4, 1e-4
LIMIT = 32.0  # of official low-resolution logits

pytestmark = pytest.mark.slow


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / name) as file:
        return dict(file)


def synthetic_file(name: str, path: Path) -> Path:
    """A file as the official ones are, with weights that the reference data's rule makes."""
    torch.save({"model": official_state(FOLDER, name)}, path)
    return path


class Case:
    """A model and what it makes of the photos."""

    def __init__(self, golden: str, row: str, file: str, folder: Path) -> None:
        self.golden, self.row = golden, row
        path = synthetic_file(file, folder / f"{file}.pt")
        self.model = load_variant(variant(row), checkpoint=path, device="cpu")
        path.unlink()
        self.network = self.model.network
        self.arrays = arrays(f"image/{golden}.npz")
        self.table = json.loads((FOLDER / "image" / f"{golden}.json").read_text())
        self.photos = {name: arrays("pixels.npz")[f"photos_{name}"] for name in PHOTOS}
        self.predictor = ImagePredictor(self.model)
        self.embeddings = {name: self.predictor.encode(self.photos[name]) for name in PHOTOS}

    def input(self, photo: str) -> torch.Tensor:
        pixels = smooth(torch.from_numpy(self.photos[photo]), (1024, 1024))
        return self.model.prepare(pixels[None])

    def near(self, found: torch.Tensor, name: str) -> None:
        """A map is the recorded one, which is strided."""
        facts = self.table["features"][name]
        assert list(found.shape) == facts["shape"]
        some = found[tuple(slice(None, None, s) for s in facts["stride"])]
        assert np.abs(some.numpy() - self.arrays[name]).max() <= FEATURES * facts["absmax"], name

    def ask(self, case: dict) -> tuple[object, dict]:
        """The prediction of a recorded case, and what was asked."""
        given = dict(case["args"])
        photo = case["photo"]
        points = given.get("point_coords")
        if not given.get("normalize_coords", True):
            height, width = self.photos[photo].shape[:2]
            points = np.array(points) * [width, height]
        asked = {
            "points": points,
            "labels": given.get("point_labels"),
            "boxes": given.get("box"),
        }
        if "mask_input" in given:
            asked["masks"] = self.arrays[f"{photo}_point_multi_low_full0"][None]
            asked["kind"] = "logits"
        embedding = self.embeddings[photo]
        multimask = given["multimask_output"]
        return self.predictor.predict(embedding, multimask=multimask, **asked), asked


@pytest.fixture(scope="module", params=RECORDED, ids=lambda r: r[1])
def case(request, tmp_path_factory):
    return Case(*request.param, tmp_path_factory.mktemp("weights"))


@torch.inference_mode()
def test_the_photo_is_stretched_and_normalised(case):
    for photo in PHOTOS:
        found = case.input(photo)[0, :, ::16, ::16].numpy()
        assert np.abs(found - case.arrays[f"{photo}_input"]).max() <= 2e-6


@torch.inference_mode()
def test_each_stage_of_trunk_and_neck(case):
    for photo in PHOTOS if case.row != "sam2-tiny" else ():
        encoder = case.network.encoder
        maps = encoder.trunk(case.input(photo))
        for i, found in enumerate(maps):
            case.near(found.permute(0, 3, 1, 2), f"{photo}_trunk{i}")
        neck = encoder.neck
        for i in (0, 1, 3):
            case.near(neck.level(maps, i), f"{photo}_fpn{i}")
        case.near(neck.embedding(maps), f"{photo}_fpn2")
        for i in (0, 1):  # two convolutions as one, against one after the other
            case.near(neck.fine[i](neck.level(maps, i)), f"{photo}_high_res{i}")


def test_features_and_codes_of_places(case):
    for photo in PHOTOS:
        embedding, fine0, fine1 = case.embeddings[photo].features
        case.near(embedding, f"{photo}_image_embed")
        case.near(fine0, f"{photo}_high_res0")
        case.near(fine1, f"{photo}_high_res1")
    grid = case.network.prompt_encoder.grid().permute(2, 0, 1)[None].detach()
    case.near(grid, "dense_pe")


def test_every_prompt(case):
    for recorded in case.table["cases"]:
        found, _ = case.ask(recorded)
        key = f"{recorded['photo']}_{recorded['case']}"
        check(case, found, recorded["photo"], key, recorded["mask_shape"])


def check(case, found, photo, key, shape):
    """Scores, low-resolution logits and masks are the recorded ones."""
    scores, low = case.arrays[f"{key}_iou"], case.arrays[f"{key}_low_s4"]
    assert np.abs(found.scores.reshape(scores.shape) - scores).max() <= SCORES, key
    cut = found.logits.clip(-LIMIT, LIMIT)[..., ::4, ::4].reshape(low.shape)
    assert np.abs(cut - low).max() <= LOGITS, key
    wanted = np.unpackbits(case.arrays[f"{key}_bits"])[: np.prod(shape)].reshape(shape) > 0
    differ = found.masks.reshape(shape) != wanted
    frame = case.embeddings[photo].frame
    flat = torch.from_numpy(found.logits.reshape(-1, *found.logits.shape[-2:]))
    full = upscale(flat, frame.padded, frame.resized, frame.image, frame.enlarge).numpy()
    assert np.abs(full.reshape(shape)[differ]).max(initial=0) <= LOGITS, key
    if f"{key}_logits_s8" in case.arrays:
        near = full.reshape(shape)[..., ::8, ::8] - case.arrays[f"{key}_logits_s8"]
        assert np.abs(near).max() <= LOGITS, key


@torch.inference_mode()
def test_the_objects_score_and_the_tokens_behind_the_masks(case):
    decoder, network = case.network.decoder, case.network
    for recorded in case.table["cases"]:
        photo, key = recorded["photo"], f"{recorded['photo']}_{recorded['case']}"
        _, asked = case.ask(recorded)
        embedding = case.embeddings[photo]
        prompts = case.predictor.prompts(embedding, **asked)
        points, labels = network_points(prompts, embedding.frame, case.model.variant.spec)
        masks = None if prompts.masks is None else torch.from_numpy(prompts.masks)[:, None]
        grid, sparse, dense = network.prompted(
            torch.from_numpy(points), torch.from_numpy(labels), masks
        )
        sides = decoder.sides(embedding.features[0], grid, dense)
        tokens, _ = decoder.transformer(*sides, decoder.tokens(sparse))
        score = decoder.object_mlp(tokens[:, 5])
        assert np.abs(score.numpy() - case.arrays[f"{key}_obj"]).max() <= OBJECT
        own = tokens[:, 2:5] if recorded["args"]["multimask_output"] else tokens[:, 1:2]
        wanted = case.arrays[f"{key}_tokens"]
        assert np.abs(own[..., ::4].numpy() - wanted).max() <= TOKENS * np.abs(wanted).max()


def test_a_look_and_a_draw_give_what_decoding_gives(case):
    embedding = case.embeddings["truck"]
    points = torch.tensor([[[300.0, 400.0], [0.0, 0.0]], [[700.0, 200.0], [0.0, 0.0]]])
    labels = torch.tensor([[1, -1], [1, -1]])
    logits, scores = case.model.decode(embedding.features, points, labels)
    state, known = case.model.look(embedding.features, points, labels)
    rows, outputs = torch.arange(2).repeat_interleave(4), torch.arange(4).repeat(2)
    drawn = case.model.draw(state, rows, outputs).view(logits.shape)
    assert (known - scores).abs().max() <= SCORES
    assert (drawn - logits).abs().max() <= LOGITS


def test_batches_of_both_photos(case):
    if case.golden == "edgetam":
        assert not [name for name in case.arrays if name.startswith("batch")]
        return
    for kind, name in (("batch", "predict_batch"), ("batchbox", "predict_batch_boxes")):
        asked = case.table[name]
        for i, photo in enumerate(PHOTOS):
            prompt = {"boxes": asked["box"][i]} if "box" in asked else {}
            if "point_coords" in asked:
                prompt = {"points": asked["point_coords"][i], "labels": asked["point_labels"][i]}
            multimask = asked.get("multimask_output", False)
            found = case.predictor.predict(case.embeddings[photo], multimask=multimask, **prompt)
            check(case, found, photo, f"{kind}{i}", asked["mask_shapes"][i])


def test_automatic_masks(case):
    file = FOLDER / "automatic" / f"{case.golden}.json"
    if case.row != "sam2.1-tiny":
        return
    recorded, masks = json.loads(file.read_text()), arrays(f"automatic/{case.golden}.npz")
    for run in recorded["runs"]:
        settings = {k: v for k, v in run["settings"].items() if k != "points_per_batch"}
        found = MaskGenerator(case.model, **settings).generate(case.photos[recorded["photo"]])
        wanted = run["records"]
        assert len(found) == run["count"] == len(wanted)
        order = np.array([r["predicted_iou"] for r in wanted])
        assert np.abs(found.scores - order).max() <= SCORES
        bits = np.unpackbits(masks[f"{run['name']}_masks"], axis=1).reshape(-1, *found.size)
        for i, rle in enumerate(found.rles):
            assert (decode_rle(rle) != bits[i]).mean() <= 1e-4
        for mine, theirs in zip(found.records(), wanted, strict=True):
            assert np.allclose(mine["bbox"], theirs["bbox"], atol=1)
            assert np.allclose(mine["point_coords"], theirs["point_coords"], atol=1e-3)
            assert abs(mine["stability_score"] - theirs["stability_score"]) <= 1e-3
            assert mine["crop_box"] == theirs["crop_box"]
