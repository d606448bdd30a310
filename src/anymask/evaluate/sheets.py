"""Best and worst answers of a set on contact sheets, to be looked at.

A tile shows the part of the photo around the object: the truth as a green outline, what was found
as an orange tint, pixels that are in both untouched by doubt: an answer is right where the tint
fills the outline. Below stand the photo's id and the IoU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from anymask.evaluate.report import MaskScore, Report
from anymask.formats.everything_pictures import contact_sheet
from anymask.formats.records import RecordSet
from anymask.mask_rle import decode_rle

SHOWN = 8  # of the best and of the worst
_TILE, _COLUMNS = 320, 4
_AROUND = 1.8  # side of what is shown, in sides of truth and answer together
_LEAST = 64  # px of the photo that are shown at least
_TRUTH, _FOUND = (40, 230, 90), (255, 130, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One picture of a report.

    Attributes
    ----------
    name
        Of its file, without ending.
    title
        What it shows.
    """

    name: str
    title: str
    pixels: UInt8[np.ndarray, "H W 3"]


def sheets_of(report: Report, sets: Sequence[RecordSet]) -> Iterator[Sheet]:
    """For each set the worst and the best answers to boxes, and to first clicks.

    Of equal ones the first. Only scores with details have masks to show.
    """
    for number, data in enumerate(sets):
        own = [one for one in report.scores if one.set == data.name and one.detail is not None]
        for prompt in ("box", "click1"):
            ranked = sorted(own, key=lambda one: _iou(report, one, prompt))
            worst, best = ranked[:SHOWN], ranked[::-1][:SHOWN]
            for kind, chosen in (("worst", worst), ("best", best)):
                if not chosen:
                    continue
                tiles = [(_label(report, one, prompt), _tile(data, one, prompt)) for one in chosen]
                yield Sheet(
                    name=f"{number:02d}-{prompt}-{kind}",
                    title=f"{data.name}: {kind} answers to "
                    f"{'boxes' if prompt == 'box' else 'one click'}",
                    pixels=contact_sheet(tiles, columns=_COLUMNS, tile=_TILE),
                )


def _iou(report: Report, score: MaskScore, prompt: str) -> float:
    assert score.detail is not None  # chosen so
    if prompt == "box":
        return score.ious[report.measures.index("box")]
    return score.detail.after[0]


def _label(report: Report, score: MaskScore, prompt: str) -> str:
    assert score.detail is not None
    fault = f", {score.detail.fault}" if prompt == "click1" else ""
    return f"{_iou(report, score, prompt):.2f} {score.image_id}{fault}"


def _tile(data: RecordSet, score: MaskScore, prompt: str) -> UInt8[np.ndarray, "h w 3"]:
    assert score.detail is not None
    record = data.read(score.image_id)
    truth = next(one.mask() for one in record.annotations if one.id == score.annotation)
    found = decode_rle(score.detail.box_mask if prompt == "box" else score.detail.click_mask)
    return show(record.pixels(), truth, found)


def show(
    pixels: UInt8[np.ndarray, "H W 3"],
    truth: Bool[np.ndarray, "H W"],
    found: Bool[np.ndarray, "H W"],
) -> UInt8[np.ndarray, "h w 3"]:
    """The part of a photo around truth and answer, enlarged to a tile, with both drawn."""
    y0, y1, x0, x1 = _window(truth | found)
    part, true, ours = (one[y0:y1, x0:x1] for one in (pixels, truth, found))
    scale = _TILE / max(part.shape[:2])
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    large = np.asarray(cv2.resize(np.ascontiguousarray(part), size, interpolation=how))
    masks = [
        np.asarray(cv2.resize(one.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)) > 0
        for one in (true, ours)
    ]
    tinted = large.copy()
    tinted[masks[1]] = (large[masks[1]] * 0.55 + np.array(_FOUND) * 0.45).astype(np.uint8)
    lines, _ = cv2.findContours(masks[0].astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tinted, lines, -1, _TRUTH, 2)
    return tinted


def _window(shown: Bool[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    """Rows and columns (y0, y1, x0, x1) of a square around some pixels, cut to the photo."""
    height, width = shown.shape
    ys, xs = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    if not len(ys):
        return 0, height, 0, width
    side = max(_LEAST, int(_AROUND * max(ys[-1] - ys[0] + 1, xs[-1] - xs[0] + 1)))
    middle = (int(ys[0] + ys[-1] + 1) // 2, int(xs[0] + xs[-1] + 1) // 2)
    y0, x0 = max(0, middle[0] - side // 2), max(0, middle[1] - side // 2)
    return y0, min(height, y0 + side), x0, min(width, x0 + side)
