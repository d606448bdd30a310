"""`anymask evaluate` prints the report of the sets it is given."""

import json

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from answers import Answer
from anymask.cli.evaluate import evaluate
from anymask.errors import DataError, OutputError
from anymask.mask_rle import pack_runs
from anymask.masks import Masks

KEYS = ["masks", "box", "click1", "click1_best", "click3", "click5", "filled_box", "grabcut_box"]


class LeftHalf:
    """Answers every prompt with the left half of the picture."""

    takes_masks = True

    def __init__(self, model):
        self.model = model

    def encode(self, image):
        return image.shape[:2]

    def predict(self, size, *, points=None, boxes=None, multimask=True, **others):
        prompts, masks = len(points if boxes is None else boxes), 3 if multimask else 1
        left = np.zeros((prompts, masks, *size), bool)
        left[..., : size[1] // 2] = True
        shape = (prompts, masks, 8, 8)
        return Answer(left, np.ones(shape[:2], np.float32), np.zeros(shape, np.float32))


class FindsLeftHalf:
    """Finds the left half of every picture, and with crops the right one too."""

    def __init__(self, model, *, crop_n_layers):
        self.layers = crop_n_layers

    def generate(self, image):
        bits = np.zeros((1 + self.layers, *image.shape[:2]), bool)
        bits[0, :, : image.shape[1] // 2] = True
        bits[1:, :, image.shape[1] // 2 :] = True
        return Masks.from_bits(bits)


@pytest.fixture
def loaded(monkeypatch):
    """What was asked of `anymask.model.load`."""
    asked = []

    def load(name="nano", *, checkpoint=None, device="auto", dtype="float32"):
        asked.append((name, checkpoint))
        return name

    monkeypatch.setattr("anymask.model.load", load)
    monkeypatch.setattr("anymask.predict.image.ImagePredictor", LeftHalf)
    monkeypatch.setattr("anymask.predict.everything.MaskGenerator", FindsLeftHalf)
    return asked


@pytest.fixture
def halves(tmp_path):
    """A set of two photos, of which one is for judging; the truth is the left three quarters."""
    folder = tmp_path / "halves"
    folder.mkdir()
    row = {"segmentation": pack_runs([0, 32 * 24, 32 * 8], (32, 32))}
    table = {"image": {"height": 32, "width": 32}, "annotations": [row]}
    for name in ("p0", "p1"):
        Image.new("RGB", (32, 32), "grey").save(folder / f"{name}.png")
        (folder / f"{name}.json").write_text(json.dumps(table))
    return folder


def run(*words):
    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "160"})


def test_the_table_goes_to_stdout_and_the_json_to_its_file(halves, loaded, tmp_path):
    result = run(halves, "--json", tmp_path / "report.json")
    assert result.exit_code == 0, result.output
    assert "Mean IoU" in result.stdout and "halves" in result.stdout
    assert loaded == [("nano", None)]
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report) == ["pooled", "mean_of_sets", "sets", "details"]
    assert list(report["sets"]["halves"]) == KEYS
    assert report["pooled"]["masks"] == 1
    assert report["pooled"]["click5"] == pytest.approx(2 / 3)
    assert report["pooled"]["filled_box"] == 1


def test_l8_with_a_dash_stdout_holds_only_the_json(halves, loaded):
    result = run(halves, "--json", "-", "--split", "all", "--no-baselines")
    report = json.loads(result.stdout)
    assert report["pooled"]["masks"] == 2
    assert report["pooled"]["grabcut_box"] is None
    assert "Mean IoU" in result.stderr


def test_automatic_masks_are_measured_without_prompts(halves, loaded):
    result = run(halves, "--task", "automatic", "--json", "-")
    assert "Automatic masks" in result.stderr and "AR" in result.stderr
    pooled = json.loads(result.stdout)["pooled"]
    assert (pooled["photos"], pooled["masks"], pooled["coverage"]) == (1, 1, 0.5)
    assert (pooled["recall50"], pooled["best"]) == (1, pytest.approx(2 / 3))
    assert loaded == [("nano", None)]
    more = run(halves, "--task", "automatic", "--crop-n-layers", 1, "--json", "-")
    assert json.loads(more.stdout)["pooled"]["masks"] == 2


def test_edges_are_measured_where_regions_are_known(halves, loaded, monkeypatch):
    class Finds:
        def __init__(self, model):
            self.model = model

        def edges(self, image):
            return np.eye(*image.shape[:2], dtype=np.float32)

    monkeypatch.setattr("anymask.predict.edges.EdgeFinder", Finds)
    result = run(halves, "--task", "edges", "--json", "-")
    assert "ODS" in result.stderr
    pooled = json.loads(result.stdout)["pooled"]
    assert (pooled["photos"], 0 < pooled["ods"] < 1) == (1, True)


def test_masks_of_boxes_are_judged_as_coco_does(halves, loaded, tmp_path):
    result = run(halves, "--task", "boxes", "--json", "-")
    assert "APs" in result.stderr
    pooled = json.loads(result.stdout)["pooled"]
    assert (pooled["boxes"], pooled["ap50"], pooled["ap75"]) == (1, 1, 0)  # an IoU of 2/3
    detections = tmp_path / "boxes.json"
    detections.write_text(json.dumps([{"image_id": "p0", "bbox": [0, 0, 9, 9], "score": 0.5}] * 2))
    result = run(halves, "--task", "boxes", "--detections", detections, "--json", "-")
    assert json.loads(result.stdout)["pooled"]["boxes"] == 2
    result = run(halves, "--task", "boxes", "--detections", tmp_path / "none.json")
    assert result.exception.code == "detections-missing"


def test_l9_the_json_is_ascii_whatever_the_set_is_called(halves, loaded, tmp_path):
    renamed = halves.rename(tmp_path / "日本")
    result = run(renamed, "--json", "-")
    assert result.stdout.isascii()
    assert list(json.loads(result.stdout)["sets"]) == ["日本"]


def test_options_reach_the_evaluation(halves, loaded, tmp_path):
    words = ("-m", "sam-vit-b", "--checkpoint", "w.pth", "--clicks", "2, 4", "--split", "all")
    result = run(halves, *words, "--limit", 1, "--json", "-")
    assert [(name, str(path)) for name, path in loaded] == [("sam-vit-b", "w.pth")]
    pooled = json.loads(result.stdout)["pooled"]
    assert (pooled["masks"], "click4" in pooled, "click1" in pooled) == (1, True, False)


@pytest.mark.parametrize("clicks", ["", "0", "1,x", "-1", "1,,3", "101", "1.5", "²"])
def test_l1_a_wrong_list_of_clicks_is_a_usage_error(halves, loaded, clicks):
    result = run(halves, f"--clicks={clicks}")
    assert result.exit_code == 2
    assert loaded == []


def test_o2_a_json_that_exists_is_refused_before_anything_is_computed(halves, loaded, tmp_path):
    target = tmp_path / "report.json"
    target.write_text("mine")
    result = run(halves, "--json", target)
    assert isinstance(result.exception, OutputError)
    assert (loaded, target.read_text()) == ([], "mine")
    assert run(halves, "--json", target, "--overwrite").exit_code == 0
    assert json.loads(target.read_text())["pooled"]["masks"] == 1


def test_o2_a_report_that_exists_is_refused_before_anything_is_computed(halves, loaded, tmp_path):
    folder = tmp_path / "report"
    result = run(halves, "--report", folder, "--no-baselines")
    assert result.exit_code == 0, result.output
    assert "Mean IoU" in result.stdout
    page = (folder / "report.md").read_bytes()
    assert b"anymask evaluate --task interactive -m nano" in page
    loaded.clear()
    result = run(halves, "--report", folder)
    assert isinstance(result.exception, OutputError)
    assert (loaded, (folder / "report.md").read_bytes()) == ([], page)
    assert run(halves, "--report", folder, "--no-baselines", "--overwrite").exit_code == 0
    assert (folder / "report.md").read_bytes() == page


def test_o3_a_json_that_cannot_be_written_is_refused_before_the_work(halves, loaded, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "file" / "report.json", tmp_path):
        result = run(halves, "--json", target, "--overwrite")
        assert isinstance(result.exception, OutputError)
    assert loaded == []


def test_a_missing_set_is_refused_before_the_model_is_loaded(halves, loaded, tmp_path):
    result = run(halves, tmp_path / "none.tar")
    assert isinstance(result.exception, DataError)
    assert result.exception.code == "set-missing"
    assert loaded == []


def test_l5_without_a_terminal_there_is_no_bar(halves, loaded):
    assert run(halves).stderr == ""
