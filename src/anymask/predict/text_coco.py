"""The bundled detector: NanoDet-g on the backbone that nano keeps, for the 80 classes of COCO."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from anymask.detectors import DetectorRow
from anymask.errors import CheckpointError, Note
from anymask.image import resize
from anymask.model_devices import place
from anymask.model_options import PLAIN
from anymask.nn.blank import NoValues
from anymask.nn.detector_head import Detector
from anymask.nn.encoders.detector import MEAN, STD
from anymask.predict.text_detector import too_long
from anymask.predict.text_words import Meaning, Words, coco_words
from anymask.text_boxes import TextBoxes
from anymask.variants import keep_aspect, variant
from anymask.weights.cache import located
from anymask.weights.files import read_state

_MULTIPLE = 32  # of the input's sides
_MOST = 1000  # candidates of a phrase, the best ones
_TRUNK = "encoder.detector."  # of nano's tensors


class CocoDetector:
    """Boxes for words that name one of 80 classes, or a group of them.

    Parameters
    ----------
    row
        Of the table of detectors.
    network
        Filled, on its device.
    words
        Which words are which classes.
    side
        Longest side of the network's input, px, a multiple of 32; None takes the row's.
    """

    def __init__(
        self, row: DetectorRow, network: Detector, words: Words, side: int | None = None
    ) -> None:
        self._row = row
        self.network = network.eval()
        self.words = words
        self.side = side or row.side or 416

    @property
    def row(self) -> DetectorRow:
        """Its row of the table."""
        return self._row

    def meanings(self, phrases: Sequence[str]) -> list[Meaning]:
        """What each phrase means."""
        return [self.words.meaning(phrase) for phrase in phrases]

    def check(self, phrases: Sequence[str]) -> tuple[Note, ...]:
        """Notes of words that it does not know, and of words that it does not look at."""
        notes = []
        for i, phrase in enumerate(phrases):
            count = len(phrase.split())
            if count > self.row.most_tokens:
                raise too_long(self.row, phrase, i, count, "words")
            meaning = self.words.meaning(phrase)
            if not meaning.classes:
                notes.append(Note("word-unknown", self._unknown(phrase)))
            elif meaning.dropped:
                text = (
                    f'{self.row.name} looks for "{meaning.known}" and takes no notice of '
                    f'"{meaning.dropped}"'
                )
                notes.append(Note("words-dropped", text))
        return tuple(notes)

    @torch.inference_mode()
    def detect(
        self, pixels: UInt8[np.ndarray, "H W 3"], phrases: Sequence[str], least: float
    ) -> TextBoxes:
        """Boxes of all phrases from one look at the image."""
        meanings = self.meanings(phrases)
        if not any(meaning.classes for meaning in meanings):
            return TextBoxes.none(len(phrases))
        scores, boxes = self.raw(pixels)
        parts = [
            self._of(i, meaning, len(phrases), scores, boxes, least)
            for i, meaning in enumerate(meanings)
        ]
        return TextBoxes.join(parts)

    @torch.inference_mode()
    def raw(
        self, pixels: UInt8[np.ndarray, "H W 3"]
    ) -> tuple[Float32[np.ndarray, "N K"], Float32[np.ndarray, "N 4"]]:
        """Scores of all classes, and boxes in px of the image, inside it, of all cells."""
        height, width = pixels.shape[:2]
        h, w = keep_aspect((height, width), self.side)
        logits, boxes = self.network(self._input(resize(pixels, (h, w))))
        scale = np.array([width / w, height / h] * 2, np.float32)
        limit = np.array([width, height] * 2, np.float32)
        placed = (boxes[0].float().cpu().numpy() * scale).clip(0, limit)
        return logits[0].float().sigmoid().cpu().numpy(), placed.astype(np.float32)

    def _input(self, pixels: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "1 3 H W"]:
        """Normalised, padded right and bottom with black, as the detector was trained."""
        h, w = pixels.shape[:2]
        padded = np.zeros((-(-h // _MULTIPLE) * _MULTIPLE, -(-w // _MULTIPLE) * _MULTIPLE, 3))
        padded[:h, :w] = pixels
        x = (padded - np.array(MEAN)) / np.array(STD)
        device = next(self.network.parameters()).device
        return torch.from_numpy(x.astype(np.float32)).permute(2, 0, 1)[None].to(device)

    def _of(
        self,
        phrase: int,
        meaning: Meaning,
        phrases: int,
        scores: Float32[np.ndarray, "N K"],
        boxes: Float32[np.ndarray, "N 4"],
        least: float,
    ) -> TextBoxes:
        """The candidates of one phrase."""
        found = TextBoxes.none(phrases)
        if not meaning.classes:
            return found
        mine = scores[:, list(meaning.classes)]
        cells, columns = np.nonzero(mine >= least)
        order = np.argsort(-mine[cells, columns], kind="stable")[:_MOST]
        cells, columns = cells[order], columns[order]
        kinds = np.array(meaning.classes, np.int64)[columns]
        best = found.best.copy()
        best[phrase] = mine.max()
        placed = boxes[cells]
        sound = (placed[:, 2] > placed[:, 0]) & (placed[:, 3] > placed[:, 1])
        return TextBoxes(
            boxes=placed,
            scores=mine[cells, columns],
            phrases=np.full(len(cells), phrase, np.int64),
            kinds=kinds,
            names=tuple(self.words.classes[k] for k in kinds),
            best=best,
        ).keep(np.flatnonzero(sound))

    def _unknown(self, phrase: str) -> str:
        near = self.words.near(phrase)
        like = f"; spelt alike are {', '.join(near)}" if near else ""
        return (
            f'{self.row.name} knows 80 kinds of things, "{phrase}" is none of them{like}; for any '
            "word install anymask[text] and take the detector grounding-dino-tiny"
        )


def build_coco(row: DetectorRow, weights: object, device: str) -> CocoDetector:
    """The bundled detector with its weights."""
    if weights is not None:
        raise CheckpointError(
            "detector-weights",
            f"{row.name} has its weights in the package and takes no others",
            given=str(weights),
        )
    state = {}
    for asset, prefix, ours in (
        (variant("nano").weights, _TRUNK, "backbone."),
        (row.weights, "", "top."),
    ):
        path = None if asset is None else located(asset)
        if path is None or asset is None:
            raise CheckpointError(
                "weights-missing",
                f"the weights of {row.name} are not in the installed package",
                hint="install anymask again",
            )
        for name, tensor in read_state(path, wanted=asset.bytes).items():
            if name.startswith(prefix):
                state[ours + name.removeprefix(prefix)] = tensor.float()
    with NoValues():
        network = Detector()
    network.load_state_dict(state, assign=True, strict=True)
    where, _, _ = place(device, "float32", PLAIN)
    return CocoDetector(row, network.to(where), coco_words())
