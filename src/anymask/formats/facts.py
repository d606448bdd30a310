"""What is known of a mask beside its pixels: the number, and what a model says of it, as JSON has
it: scores, points, the part that was looked at.
"""

from collections.abc import Mapping
from typing import Any

from anymask.formats.checks import number, numbers, plain
from anymask.formats.records import Annotation, Box, Record, Remarks


def facts_of(row: Mapping[str, object]) -> dict[str, Any]:
    """What a model's mask says of itself, as keywords of `Annotation`; a bare score is an IoU."""
    points, crop = row.get("point_coords"), numbers(row.get("crop_box"), 4)
    pairs = [numbers(each, 2) for each in points] if isinstance(points, list) else []
    iou = number(row.get("predicted_iou"))
    box: Box | None = None if crop is None else (crop[0], crop[1], crop[2], crop[3])
    return {
        "predicted_iou": number(row.get("score")) if iou is None else iou,
        "stability_score": number(row.get("stability_score")),
        "points": tuple((pair[0], pair[1]) for pair in pairs if pair is not None),
        "crop_box": box,
    }


def facts_to_row(annotation: Annotation) -> dict[str, object]:
    """The same as JSON has it; what is not known is left out."""
    crop = annotation.crop_box
    row: dict[str, object] = {
        "predicted_iou": annotation.predicted_iou,
        "point_coords": [[plain(v) for v in point] for point in annotation.points] or None,
        "crop_box": None if crop is None else [plain(v) for v in crop],
        "stability_score": annotation.stability_score,
    }
    return {key: value for key, value in row.items() if value is not None}


def say_dropped(record: Record, remarks: Remarks) -> None:
    """Say whose ids and scores go, for formats that have no place for them.

    Ids that only count the masks of a picture, from 0 or 1, are made anew by reading.
    """
    ids = [each.id for each in record.annotations]
    counted = any(ids == list(range(first, first + len(ids))) for first in (0, 1))
    for each in record.annotations:
        if not counted:
            remarks.dropped("id-lost", "its id is not kept", at=f"id {each.id}")
        if facts_to_row(each):
            remarks.dropped("scores-lost", "what a model said is not kept", at=f"id {each.id}")
