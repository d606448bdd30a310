"""The table of detectors, which turn words into boxes: one frozen row each.

Code never asks a detector's name: what differs between them is in its row. How a row's weights are
loaded is told by its `builder`, a name in `anymask.predict.text_load`.
"""

from dataclasses import dataclass

from anymask.errors import PromptError
from anymask.variants import Asset


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRow:
    """One detector.

    Attributes
    ----------
    name
        What users call it.
    builder
        Which code loads and runs it.
    licence, summary
        For people.
    open
        It takes any words; else it knows a table of them.
    weights
        A bundled file, or None.
    repository
        Where the weights are on the Hugging Face hub, or None.
    side
        Longest side of images as the network sees them, px; None where the files that come with
        the weights say it.
    least
        Score from which on a box is taken.
    alone
        Score from which on the best box of a phrase is taken when none reaches `least`: who names
        a thing mostly sees it. None where nothing below `least` is taken.
    overlap
        Of two boxes with a higher IoU the one with the lower score is dropped.
    most_tokens
        Tokens that a phrase may have: pieces of words where the network splits words, else words.
    """

    name: str
    builder: str
    licence: str
    summary: str
    open: bool
    weights: Asset | None = None
    repository: str | None = None
    side: int | None = None
    least: float
    alone: float | None = None
    overlap: float = 0.6
    most_tokens: int


DETECTORS: tuple[DetectorRow, ...] = (
    DetectorRow(
        name="coco",
        builder="coco",
        licence="Apache-2.0",
        summary="bundled, offline: the 80 classes of COCO, their plurals and common synonyms",
        open=False,
        weights=Asset(
            file="coco.safetensors",
            bytes=1_213_296,
            sha256="42bd1ab8e4ee78d3e098f4d76ef5ccfd5cb2a9a1d7cd80e02540742f39f7e5f1",
        ),
        side=416,
        least=0.35,
        alone=0.25,
        most_tokens=32,
    ),
    DetectorRow(
        name="grounding-dino-tiny",
        builder="grounding_dino",
        licence="Apache-2.0",
        summary="any words; needs the extra anymask[text] and its weights",
        open=True,
        repository="IDEA-Research/grounding-dino-tiny",
        least=0.25,
        overlap=0.8,
        most_tokens=256,
    ),
    DetectorRow(
        name="grounding-dino-base",
        builder="grounding_dino",
        licence="Apache-2.0",
        summary="any words, larger and better; needs the extra anymask[text] and its weights",
        open=True,
        repository="IDEA-Research/grounding-dino-base",
        least=0.25,
        overlap=0.8,
        most_tokens=256,
    ),
    DetectorRow(
        name="sam3",
        builder="sam3",
        licence="SAM License",
        summary="any short noun phrase; needs the extra anymask[text] and Meta's weights",
        open=True,
        repository="facebook/sam3",
        least=0.5,
        overlap=0.8,
        most_tokens=32,
    ),
)

_BY_NAME = {row.name: row for row in DETECTORS}


def detector_row(name: str) -> DetectorRow:
    """The row of that name.

    Raises
    ------
    PromptError
        ``unknown-detector``: no such row; the message lists all names.
    """
    if name not in _BY_NAME:
        raise PromptError(
            "unknown-detector",
            "there is no detector of this name",
            given=name,
            hint=f"choose one of {', '.join(_BY_NAME)}",
        )
    return _BY_NAME[name]
