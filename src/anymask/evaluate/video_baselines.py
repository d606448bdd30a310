"""What a clip's first masks alone give, without any network: kept as they are, or moved by optical
flow.

``hold`` answers every frame with the first masks. ``flow`` moves the masks of the frame before:
the flow from the new frame back to the one before says where each pixel comes from, the mask is
read there between pixels (bilinearly), and half or more counts as inside. Objects do not overlap
before, so they do not afterwards either.

The flow is Kroeger et al. 2016, Fast Optical Flow using Dense Inverse Search (arXiv:1603.03590),
in OpenCV's implementation with its medium preset, on grey pictures.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from anymask.evaluate.video_metrics import objects_of

_INSIDE = 0.5


def hold(
    first: UInt8[np.ndarray, "H W"], frames: Iterable[UInt8[np.ndarray, "H W 3"]]
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """The first label map again for every frame."""
    return (first for _ in frames)


def flow(
    first: UInt8[np.ndarray, "H W"], frames: Iterable[UInt8[np.ndarray, "H W 3"]]
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """The first label map moved from frame to frame; the same input gives the same maps.

    Parameters
    ----------
    first
        Label map of the first frame: 0 nothing, 255 void (not followed), else an object.
    frames
        RGB, from the first frame on.

    Yields
    ------
    A label map for each frame, the first one as it was given.
    """
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    labels, before = first, None
    for frame in frames:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if before is not None:
            # from the new frame back to the old one: where each pixel comes from
            back = np.asarray(finder.calc(grey, before, None), np.float32)  # type: ignore[call-overload]
            labels = moved(labels, back)
        before = grey
        yield labels


def moved(
    labels: UInt8[np.ndarray, "H W"], back: Float32[np.ndarray, "H W 2"]
) -> UInt8[np.ndarray, "H W"]:
    """A label map moved by a flow.

    Parameters
    ----------
    labels
        0 nothing, 255 void, which is left behind, else an object.
    back
        For each pixel of the new frame how far away in the old one it comes from: (x, y), px.

    >>> back = np.zeros((1, 4, 2), np.float32)
    >>> back[..., 0] = -1  # everything comes from one pixel further left
    >>> moved(np.array([[0, 7, 0, 0]], np.uint8), back)
    array([[0, 0, 7, 0]], dtype=uint8)
    """
    height, width = labels.shape
    x = back[..., 0] + np.arange(width, dtype=np.float32)
    y = back[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    result = np.zeros_like(labels)
    for value in objects_of(labels):
        inside = (labels == value).astype(np.float32)
        share = cv2.remap(inside, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        result[(share >= _INSIDE) & (result == 0)] = value
    return result
