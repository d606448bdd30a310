"""Detectors through transformers, at tiny size with random weights, without a network."""

import json
import warnings
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from anymask import load_detector
from anymask.errors import CheckpointError, MissingExtraError, PromptError
from anymask.predict import text_transformers
from anymask.predict.text import TextPredictor, TextSettings
from tiny import tiny_sam

LETTERS = [*"abcdefghijklmnopqrstuvwxyz"]


def grounding_dino_folder(folder):
    """Files as transformers saves them: one layer everywhere, words spelt in letters."""
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *LETTERS]
    words += [f"##{letter}" for letter in LETTERS]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    swin = transformers.SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )
    bert = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=swin,
        text_config=bert,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_queries=9,
        disable_custom_kernels=True,
    )
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    images = transformers.GroundingDinoImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 96}
    )
    transformers.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def sam3_folder(folder):
    """The same of SAM 3."""
    torch.manual_seed(0)
    ends = [f"{letter}</w>" for letter in LETTERS]
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *ends]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    small = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}
    vision = transformers.Sam3VisionConfig(
        backbone_config={
            **small,
            "model_type": "sam3_vit_model",
            "num_hidden_layers": 1,
            "image_size": 56,
            "pretrain_image_size": 56,
            "window_size": 2,
            "global_attn_indexes": [0],
        },
        fpn_hidden_size=32,
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )
    config = transformers.Sam3Config(
        vision_config=vision,
        text_config={
            **small,
            "vocab_size": len(words),
            "num_hidden_layers": 1,
            "projection_dim": 32,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        },
        geometry_encoder_config={**small, "num_layers": 1},
        detr_encoder_config={**small, "num_layers": 1},
        detr_decoder_config={**small, "num_layers": 1, "num_queries": 7},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )
    transformers.Sam3Model(config).save_pretrained(folder)
    images = transformers.Sam3ImageProcessor(size={"height": 56, "width": 56})
    transformers.Sam3Processor(images, tokenizer).save_pretrained(folder)
    return folder


HAS_TORCHVISION = find_spec("torchvision") is not None  # transformers' SAM 3 imports it
MAKERS = {"grounding-dino-tiny": grounding_dino_folder}
if HAS_TORCHVISION:
    MAKERS["sam3"] = sam3_folder


@pytest.fixture(scope="module", params=list(MAKERS))
def detector(request, tmp_path_factory):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers warns of its own affairs
        folder = MAKERS[request.param](tmp_path_factory.mktemp(request.param))
        return load_detector(request.param, weights=folder, device="cpu")


@pytest.fixture
def image():
    return np.random.default_rng(1).integers(0, 256, (48, 80, 3), dtype=np.uint8)


@pytest.mark.filterwarnings("ignore")
def test_boxes_lie_in_the_image_and_become_masks(detector, image):
    finder = TextPredictor(tiny_sam(), detector, settings=TextSettings(least=0.0, most=3))
    found = finder.predict(image, "dog . red car")
    assert len(found) and found.bits.shape[1:] == (48, 80)
    assert set(found.labels) == {"dog", "red car"}
    assert (found.found >= 0).all() and (found.found <= [80, 48, 80, 48]).all()
    assert (found.detector_scores <= found.best[found.phrase] + 1e-6).all()


@pytest.mark.filterwarnings("ignore")
def test_t05_phrases_give_what_each_gives_alone(detector, image):
    together = detector.detect(image, ["dog", "cat"], 0.0)
    for i, phrase in enumerate(["dog", "cat"]):
        alone = detector.detect(image, [phrase], 0.0)
        part = together.keep(np.flatnonzero(together.phrases == i))
        np.testing.assert_allclose(part.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(part.scores, alone.scores, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_t06_nothing_found_has_a_best_score(detector, image):
    found = TextPredictor(tiny_sam(), detector, settings=TextSettings(least=1.0)).predict(
        image, "dog"
    )
    assert found.bits.shape == (0, 48, 80) and 0 < found.best[0] < 1


def test_t03_too_many_tokens_are_refused_with_the_limit(detector):
    limit = detector.row.most_tokens
    with pytest.raises(PromptError, match=rf"tokens, {detector.row.name} takes {limit}") as error:
        detector.check(["dog", "dog " * limit])
    assert (error.value.code, error.value.where) == ("text-tokens", "text[1]")


@pytest.mark.filterwarnings("ignore")
def test_the_boxes_are_those_of_transformers_own_reading(tmp_path, image):
    folder = grounding_dino_folder(tmp_path)
    detector = load_detector("grounding-dino-tiny", weights=folder, device="cpu")
    given = detector.processor(images=image, text="dog.", return_tensors="pt")
    with torch.inference_mode():
        output = detector.network(**given)
    (wanted,) = detector.processor.post_process_grounded_object_detection(
        output, given["input_ids"], threshold=0.0, target_sizes=[(48, 80)]
    )
    found = detector.detect(image, ["dog"], 0.0)
    np.testing.assert_allclose(found.scores, wanted["scores"], atol=1e-5)
    clipped = wanted["boxes"].numpy().clip(0, [80, 48, 80, 48])
    np.testing.assert_allclose(found.boxes, clipped, atol=1e-3)


@pytest.mark.parametrize("name", ["grounding-dino-tiny", "grounding-dino-base", "sam3"])
def test_without_weights_it_says_what_to_fetch_and_where_it_looked(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(CheckpointError, match="hf download") as error:
        load_detector(name, device="cpu")
    assert error.value.code == "detector-missing"
    assert str(tmp_path / "hub") in str(error.value)


def test_sam3s_scores_are_those_of_the_place_times_that_the_thing_is_there():
    logits, boxes = torch.tensor([[0.0, 4.0]]), torch.tensor([[[0, 0, 0.5, 1.0], [0.2, 0, 1, 1]]])
    output = SimpleNamespace(
        pred_logits=logits, presence_logits=torch.tensor([[0.0]]), pred_boxes=boxes
    )
    scores, corners = text_transformers._read_sam3(output)
    np.testing.assert_allclose(scores, [0.25, 0.5 * torch.tensor(4.0).sigmoid()])
    assert torch.equal(corners, boxes[0])


def test_what_transformers_itself_lacks_is_named(tmp_path, monkeypatch):
    class Lacking:
        __version__ = "5.0"
        Sam3Model = None

        class AutoProcessor:
            @staticmethod
            def from_pretrained(source, local_files_only):
                raise ImportError("\nSam3ImageProcessor requires the Torchvision library")

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(text_transformers, "import_module", lambda name: Lacking)
    with pytest.raises(MissingExtraError, match="Torchvision"):
        load_detector("sam3", weights=tmp_path, device="cpu")


def test_a_folder_without_a_detector_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no config\.json") as error:
        load_detector("sam3", weights=tmp_path, device="cpu")
    assert error.value.where == str(tmp_path)


def test_broken_files_are_told(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError) as error:
        load_detector("grounding-dino-base", weights=tmp_path, device="cpu")
    assert error.value.code == "detector-broken"


def test_without_transformers_the_extra_is_named(tmp_path, monkeypatch):
    def gone(name):
        raise ImportError(name)

    monkeypatch.setattr(text_transformers, "import_module", gone)
    with pytest.raises(MissingExtraError, match=r"anymask\[text\]"):
        load_detector("sam3", weights=tmp_path, device="cpu")


def test_an_old_transformers_is_told(tmp_path, monkeypatch):
    class Old:
        __version__ = "4.30"

    monkeypatch.setattr(text_transformers, "import_module", lambda name: Old)
    with pytest.raises(MissingExtraError, match=r"newer transformers than 4\.30"):
        load_detector("sam3", weights=tmp_path, device="cpu")
