"""How good automatic masks are: every object found, nothing else, nothing twice.

Each photo's masks, made without any prompt, are compared with its true masks:

- ``ar1000``: average recall, COCO's figure for proposals: the share of true masks that are matched
  one to one, averaged over IoU thresholds 0.5, 0.55 ... 0.95; ``recall50`` at the first alone.
  ``ar10`` and ``ar100`` are those of the 10 and 100 masks of the highest scores.
- ``best``: mean over true masks of the IoU of the best mask, matched or not.
- ``precision``: share of masks that have a true one, averaged over the same thresholds;
  ``precision50`` at the first alone. Taken only on photos whose true masks cover nearly all pixels:
  elsewhere a mask without a true one may be an object that nobody drew.
- ``coverage``: share of pixels in a mask. ``duplicates``: share of masks that show what a mask of
  a higher score shows.

True masks of all sizes take part, crowds do not.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from anymask.evaluate.automatic_metrics import PhotoScore, score_photo
from anymask.evaluate.automatic_report import AutomaticReport
from anymask.evaluate.photos import Progress, chosen_photos, walk
from anymask.formats.sa1b import Sa1bSet
from anymask.masks import Masks


@runtime_checkable
class Generator(Protocol):
    """What is judged: `anymask.MaskGenerator`, or anything that behaves like it."""

    def generate(self, image: Any) -> Masks: ...


def evaluate_automatic(
    generator: Generator,
    sets: Sequence[Sa1bSet],
    *,
    split: str = "val",
    limit: int | None = None,
    progress: Progress | None = None,
) -> AutomaticReport:
    """Make masks of every photo of the sets and score them; the same input, the same report.

    Parameters
    ----------
    generator
        Makes the masks of a photo.
    sets
        What to judge on; their names must differ.
    split
        ``"val"`` for the photos kept out of training (`anymask.formats.sa1b.split_of`), or
        ``"all"``.
    limit
        At most so many photos of each set, those with the lowest SHA-256 of their ids.
    progress
        Called with (photos done, photos in all).

    Raises
    ------
    DataError
        ``split-unknown``, ``set-twice``, or a broken record (see
        `anymask.formats.sa1b.Sa1bSet.read`).
    """
    scores: list[PhotoScore] = []
    for data, record in walk(chosen_photos(sets, split, limit), progress):
        masks = generator.generate(record.pixels())
        scores.append(
            score_photo(masks, record.annotations, name=data.name, image_id=record.image_id)
        )
    return AutomaticReport(sets=tuple(data.name for data in sets), scores=tuple(scores))
