"""A detector by its name, with its weights: the builders that rows of the table name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from anymask.detectors import DetectorRow, detector_row
from anymask.predict.text_coco import build_coco
from anymask.predict.text_detector import Detector
from anymask.predict.text_transformers import build_grounding_dino, build_sam3

BUILDERS: Mapping[str, Callable[[DetectorRow, Path | None, str], Detector]] = {
    "coco": build_coco,
    "grounding_dino": build_grounding_dino,
    "sam3": build_sam3,
}


def load_detector(
    name: str = "coco", *, weights: str | Path | None = None, device: str = "auto"
) -> Detector:
    """A detector, ready for words.

    Parameters
    ----------
    name
        A row of `anymask.detectors.DETECTORS`.
    weights
        A folder as transformers saves it (``config.json``, ``model.safetensors``, tokenizer files);
        None takes the bundled file, or what lies in the cache of the Hugging Face hub. Nothing is
        downloaded.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Raises
    ------
    PromptError
        ``unknown-detector``.
    MissingExtraError
        ``extra-missing``: transformers is not installed, or too old for this detector.
    CheckpointError
        ``detector-missing``: its weights are not here; the message says what to fetch, and where
        they were looked for. ``detector-broken``: they cannot be loaded.
    DeviceError
        The device is not to be had.
    """
    row = detector_row(name)
    return BUILDERS[row.builder](row, None if weights is None else Path(weights), device)
