"""Detectors for any words through the library transformers: Grounding DINO and SAM 3.

Weights are read from a folder or from the cache of the Hugging Face hub; nothing is downloaded
here. Each phrase is asked alone, so that phrases cannot run into each other: a network pass each.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from anymask.detectors import DetectorRow
from anymask.errors import CheckpointError, MissingExtraError, Note
from anymask.model_devices import place
from anymask.model_options import PLAIN
from anymask.predict.text_detector import too_long
from anymask.text_boxes import TextBoxes

# output of the network -> scores (Q,), boxes (Q, 4) x0, y0, x1, y1 in shares of the image's sides
Reader = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]


class TransformersDetector:
    """A network of transformers that takes an image and a phrase.

    Parameters
    ----------
    row
        Of the table of detectors.
    network, processor
        As transformers loads them.
    form
        Phrase to the text that the network was trained on.
    read
        What its output means.
    """

    def __init__(
        self,
        row: DetectorRow,
        network: Any,
        processor: Any,
        form: Callable[[str], str],
        read: Reader,
    ) -> None:
        self._row = row
        self.network = network.eval()
        self.processor = processor
        self.form = form
        self.read = read

    @property
    def row(self) -> DetectorRow:
        """Its row of the table."""
        return self._row

    def check(self, phrases: Sequence[str]) -> tuple[Note, ...]:
        """Refuse phrases whose tokens would be cut off."""
        for i, phrase in enumerate(phrases):
            # the tokenizer's own warning about long texts would come before our error
            tokens = self.processor.tokenizer(self.form(phrase), verbose=False)["input_ids"]
            if len(tokens) > self.row.most_tokens:
                raise too_long(self.row, phrase, i, len(tokens), "tokens")
        return ()

    @torch.inference_mode()
    def detect(
        self, pixels: UInt8[np.ndarray, "H W 3"], phrases: Sequence[str], least: float
    ) -> TextBoxes:
        """Boxes of each phrase from a pass of its own."""
        parts = [TextBoxes.none(len(phrases))]
        for i, phrase in enumerate(phrases):
            scores, boxes = self._ask(pixels, phrase)
            best = np.zeros(len(phrases), np.float32)
            best[i] = scores.max(initial=0)
            sound = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
            taken = np.flatnonzero((scores >= least) & sound)
            parts.append(
                TextBoxes(
                    boxes=boxes[taken],
                    scores=scores[taken],
                    phrases=np.full(len(taken), i, np.int64),
                    kinds=np.zeros(len(taken), np.int64),
                    names=(phrase,) * len(taken),
                    best=best,
                )
            )
        return TextBoxes.join(parts)

    def _ask(
        self, pixels: UInt8[np.ndarray, "H W 3"], phrase: str
    ) -> tuple[Float32[np.ndarray, " Q"], Float32[np.ndarray, "Q 4"]]:
        """Scores and boxes, in px of the image and inside it, of all queries."""
        given = self.processor(images=pixels, text=self.form(phrase), return_tensors="pt")
        inputs = {k: v.to(self.network.device) for k, v in given.items()}
        scores, boxes = self.read(self.network(**_taken(self.network, inputs)))
        height, width = pixels.shape[:2]
        limit = np.array([width, height] * 2, np.float32)
        placed = (boxes.float().cpu().numpy() * limit).clip(0, limit).astype(np.float32)
        return scores.float().cpu().numpy(), placed


def _taken(network: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the network takes of what the processor gives: the image's size is none of it."""
    return {k: v for k, v in inputs.items() if k != "original_sizes"}


def _sentence(phrase: str) -> str:
    """As Grounding DINO was trained: small letters, one full stop, at the end."""
    return " ".join(phrase.replace(".", " ").lower().split()) + "."


def _read_grounding_dino(output: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A query's score is that of the token it fits best; boxes are centre and size."""
    scores = output.logits[0].sigmoid().amax(-1)
    x, y, w, h = output.pred_boxes[0].unbind(-1)
    return scores, torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=-1)


def _read_sam3(output: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A query's score times that of the concept being there at all; boxes are corners."""
    scores = output.pred_logits[0].sigmoid()
    if output.presence_logits is not None:
        scores = scores * output.presence_logits[0].sigmoid()
    return scores, output.pred_boxes[0]


def build_grounding_dino(row: DetectorRow, weights: Path | None, device: str) -> Any:
    """Grounding DINO (Liu et al. 2023, arXiv:2303.05499)."""
    network, processor = _loaded(row, weights, "GroundingDinoForObjectDetection", device)
    return TransformersDetector(row, network, processor, _sentence, _read_grounding_dino)


def build_sam3(row: DetectorRow, weights: Path | None, device: str) -> Any:
    """SAM 3's concept prompts (Meta 2025, arXiv:2511.16719): their boxes."""
    network, processor = _loaded(row, weights, "Sam3Model", device)
    return TransformersDetector(row, network, processor, str.lower, _read_sam3)


def _loaded(row: DetectorRow, weights: Path | None, kind: str, device: str) -> tuple[Any, Any]:
    """Network and processor from a folder or the hub's cache, without a download."""
    where, _, _ = place(device, "float32", PLAIN)
    library = _library(row, kind)
    source = _folder(row, weights)
    try:
        processor = library.AutoProcessor.from_pretrained(source, local_files_only=True)
        network = getattr(library, kind).from_pretrained(source, local_files_only=True)
    except ImportError as error:  # SAM 3 wants torchvision beside it
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        raise MissingExtraError(
            "extra-missing",
            f"transformers lacks something for {row.name} ({reason.strip()[:150]})",
            hint='pip install "anymask[text]"',
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            "detector-broken",
            f"the files of {row.name} cannot be loaded ({reason})",
            where=str(source),
            hint=_fetch(row),
        ) from error
    return network.to(where), processor


def _library(row: DetectorRow, kind: str) -> Any:
    """transformers, where it is installed and knows the network."""
    try:
        library = import_module("transformers")
    except ImportError as error:
        raise MissingExtraError(
            "extra-missing",
            f"{row.name} needs transformers, which is not installed",
            hint='pip install "anymask[text]"',
        ) from error
    if not hasattr(library, kind):
        raise MissingExtraError(
            "extra-missing",
            f"{row.name} needs a newer transformers than {library.__version__}",
            hint='pip install --upgrade "anymask[text]"',
        )
    return library


def _folder(row: DetectorRow, weights: Path | None) -> Path:
    """Where the files lie."""
    if weights is not None:
        if (weights / "config.json").is_file():
            return weights
        raise CheckpointError(
            "detector-missing",
            "there is no config.json of a detector in this folder",
            where=str(weights),
            hint=_fetch(row),
        )
    hub = import_module("huggingface_hub")
    cache = Path(hub.constants.HF_HUB_CACHE)
    config = hub.try_to_load_from_cache(row.repository, "config.json", cache_dir=cache)
    if not isinstance(config, str):
        raise CheckpointError(
            "detector-missing",
            f"the weights of {row.name} are not here",
            where=str(cache),
            hint=_fetch(row),
        )
    return Path(config).parent


def _fetch(row: DetectorRow) -> str:
    return f"fetch them: hf download {row.repository}; or name a folder that holds them"
