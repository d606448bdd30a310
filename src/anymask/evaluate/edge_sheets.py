"""Best and worst photos of an evaluation of edges, to be looked at.

A tile shows the photo, what the annotators drew (darker where more of them did), and what was
found (darker where the edge is stronger). Below stand F at the threshold of all photos, and the id.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from anymask.evaluate.edge_metrics import EdgeCounts, figures_of, thresholds
from anymask.evaluate.edge_truth import true_edges
from anymask.evaluate.edges import EdgeReport, Finder
from anymask.evaluate.sheets import Sheet
from anymask.formats.everything_pictures import contact_sheet
from anymask.formats.records import RecordSet

SHOWN = 4  # of the best and of the worst
_TILE, _COLUMNS = 720, 1  # three pictures side by side


def edge_sheets(report: EdgeReport, sets: Sequence[RecordSet], finder: Finder) -> Iterator[Sheet]:
    """For each set the worst and the best photos; their edges are found once more."""
    best = report.figures().threshold
    for number, data in enumerate(sets):
        own = [one for one in report.counts if one.set == data.name]
        ranked = sorted(own, key=lambda one: f_at(one, best))
        for kind, chosen in (("worst", ranked[:SHOWN]), ("best", ranked[::-1][:SHOWN])):
            if not chosen:
                continue
            tiles = [
                (f"{f_at(one, best):.2f} {one.image_id}", _tile(data, one.image_id, finder))
                for one in chosen
            ]
            yield Sheet(
                name=f"{number:02d}-edges-{kind}",
                title=f"{data.name}: {kind} edges; photo, annotators, found",
                pixels=contact_sheet(tiles, columns=_COLUMNS, tile=_TILE),
            )


def f_at(counts: EdgeCounts, threshold: float) -> float:
    """F of one photo at a threshold."""
    known = figures_of([counts])
    at = int(np.argmin(np.abs(thresholds(len(known.recall)) - threshold)))
    precision, recall = float(known.precision[at]), float(known.recall[at])
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


def _tile(data: RecordSet, image_id: str, finder: Finder) -> UInt8[np.ndarray, "h w 3"]:
    record = data.read(image_id)
    pixels = record.pixels()
    drawn = np.asarray(np.mean(true_edges(record.annotations, record.size), 0), np.float32)
    found = finder.edges(pixels)
    scale = _TILE / 3 / pixels.shape[1]
    if pixels.shape[0] > pixels.shape[1]:
        scale = _TILE / 3 / pixels.shape[0]
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    photo = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    return np.concatenate([photo, _ink(drawn, size), _ink(found, size)], axis=1)


def _ink(edges: Float32[np.ndarray, "H W"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Edges 0..1 as dark lines on white; a line stays dark where it is scaled down."""
    if size[0] < edges.shape[1]:  # the darkest of what becomes one pixel
        side = int(np.ceil(edges.shape[1] / size[0]))
        edges = np.asarray(cv2.dilate(edges, np.ones((side, side), np.uint8)))
    small = np.asarray(cv2.resize(edges, size, interpolation=cv2.INTER_AREA))
    grey = (255 * (1 - small.clip(0, 1))).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
