"""`anymask segment --text`: words instead of clicks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from anymask.cli.common import importing

if TYPE_CHECKING:
    from anymask.formats.result import Result
    from anymask.image import Picture
    from anymask.predict.image import ImagePredictor
    from anymask.predict.text import TextPredictor


def load_words(
    predictor: "ImagePredictor", detector: str, weights: Path | None, device: str
) -> "TextPredictor":
    """The slow part: the detector is loaded here."""
    with importing():
        from anymask.predict.text import TextPredictor
        from anymask.predict.text_load import load_detector

    return TextPredictor(predictor, load_detector(detector, weights=weights, device=device))


@dataclass(kw_only=True)
class WordsRequest:
    """What words ask of each picture.

    Attributes
    ----------
    phrases
        As `anymask.predict.text_phrases.parse_phrases` gives them.
    detector
        Name of a row of the table.
    weights
        A folder for the detector, or None.
    tiles
        Side of the detector's tiles, px, or None.
    device
        For the detector.
    """

    phrases: tuple[str, ...]
    detector: str
    weights: Path | None
    tiles: int | None
    device: str
    _finder: "TextPredictor | None" = field(default=None, init=False)

    @classmethod
    def parse(
        cls,
        text: Sequence[str],
        detector: str,
        weights: Path | None,
        tiles: int | None,
        device: str,
    ) -> "WordsRequest":
        """From the options as they were typed.

        Raises
        ------
        PromptError
            Words that cannot be asked, or an unknown detector.
        """
        from anymask.detectors import detector_row
        from anymask.predict.text_phrases import parse_phrases

        row = detector_row(detector)
        return cls(
            phrases=parse_phrases(list(text)),
            detector=row.name,
            weights=weights,
            tiles=tiles,
            device=device,
        )

    def find(self, predictor: "Callable[[], ImagePredictor]", picture: "Picture") -> "Result":
        """The masks of a picture, each with the phrase that it answers."""
        from anymask.formats.result import Asked, Result

        if self._finder is None:
            self._finder = load_words(predictor(), self.detector, self.weights, self.device)
        found = self._finder.predict(picture, self.phrases, tiles=self.tiles)
        asked = []
        for box, phrase, name, score in zip(
            found.found.tolist(), found.labels, found.names, found.detector_scores, strict=True
        ):
            x0, y0, x1, y1 = box
            asked.append(
                Asked(box=(x0, y0, x1, y1), text=phrase, name=name, detector_score=float(score))
            )
        return Result(
            file="", pixels=picture.pixels, masks=found, asked=tuple(asked), notes=found.notes
        )
