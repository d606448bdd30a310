"""True edges of a photo from the regions of its annotators: where their regions meet.

Sets in the layout of SA-1B list regions without saying whose they are. Those of one annotator are
recognised: they never overlap, and they come one after the other in the order in which a scan of
the photo, row by row, meets them. Where a region begins before the last one did, or overlaps one,
the next annotator has begun.

A region that another annotator drew before almost alike may have been left out as a duplicate
(`bsds-regions` drops those with an IoU above 0.9). What an annotator left open is therefore filled
with regions of those before, the largest first, where nearly all of a region lies in the open;
then with what lies nearest, if it is a narrow rest, else it counts as a region of its own.

Annotators' edges stay apart: a benchmark compares with each of them.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Int32

from anymask.formats.records import Annotation

_FITS = 0.9  # of a region's pixels in the open: it stands for one that was left out
_NARROW = 3.0  # px from the nearest region: a rest that is nowhere deeper is no region


def true_edges(
    annotations: Sequence[Annotation], size: tuple[int, int]
) -> tuple[Bool[np.ndarray, "H W"], ...]:
    """Edges of each annotator of a photo of ``size`` (H, W), one px wide."""
    return tuple(edges_between(labels) for labels in annotator_maps(annotations, size))


def annotator_maps(
    annotations: Sequence[Annotation], size: tuple[int, int]
) -> tuple[Int32[np.ndarray, "H W"], ...]:
    """The label map of each annotator: regions from 1 on, every pixel in one.

    Crowds and empty masks take no part.
    """
    maps: list[Int32[np.ndarray, "H W"]] = []
    earlier: list[Bool[np.ndarray, "H W"]] = []
    for own in _by_annotator(annotations):
        labels = np.zeros(size, np.int32)
        for number, region in enumerate(own, 1):
            labels[region] = number
        _fill(labels, sorted(earlier, key=lambda one: -int(one.sum())))  # stable: equal ones as met
        maps.append(labels)
        earlier += own
    return tuple(maps)


def edges_between(labels: Int32[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels unlike the one to the right or below: one side of each border between regions.

    >>> edges_between(np.array([[1, 1, 2], [1, 1, 2]], np.int32)).astype(int)
    array([[0, 1, 0],
           [0, 1, 0]])
    """
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def _by_annotator(
    annotations: Sequence[Annotation],
) -> list[list[Bool[np.ndarray, "H W"]]]:
    """Regions as bits, those of each annotator together."""
    groups: list[list[Bool[np.ndarray, "H W"]]] = []
    taken = np.zeros(0, bool)
    last = -1
    for annotation in annotations:
        region = annotation.mask()
        if annotation.iscrowd or not region.any():
            continue
        begins = int(region.argmax())
        if not groups or begins < last or bool((taken & region).any()):
            groups.append([])
            taken = np.zeros_like(region)
        groups[-1].append(region)
        taken |= region
        last = begins
    return groups


def _fill(labels: Int32[np.ndarray, "H W"], earlier: Sequence[Bool[np.ndarray, "H W"]]) -> None:
    """Give every pixel that is still 0 a region; `labels` is changed."""
    number = int(labels.max())
    for region in earlier:
        open_part = region & (labels == 0)
        if np.count_nonzero(open_part) >= _FITS * np.count_nonzero(region):
            number += 1
            labels[open_part] = number
    rest = labels == 0
    if not rest.any():
        return
    count, parts = cv2.connectedComponents(rest.view(np.uint8), connectivity=4)
    away, nearest = cv2.distanceTransformWithLabels(
        rest.view(np.uint8),
        cv2.DIST_L2,
        cv2.DIST_MASK_5,
        labelType=cv2.DIST_LABEL_PIXEL,
    )
    known = np.zeros(int(nearest.max()) + 1, np.int32)
    known[nearest[~rest]] = labels[~rest]
    for part in range(1, count):
        inside = parts == part
        if away[inside].max() > _NARROW or rest.all():
            number += 1
            labels[inside] = number
        else:
            labels[inside] = known[nearest[inside]]
