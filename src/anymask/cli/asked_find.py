"""The masks that clicks, boxes or a mask ask for on one picture."""

from typing import TYPE_CHECKING, Any

from anymask.errors import Note

if TYPE_CHECKING:
    from anymask.cli.asked import Request
    from anymask.formats.result import Result
    from anymask.image import Picture
    from anymask.predict.image import ImagePredictor


def find(predictor: "ImagePredictor", picture: "Picture", request: "Request") -> "Result":
    """The masks that are asked for; several boxes are decoded some at a time."""
    import numpy as np

    from anymask.formats.result import Result
    from anymask.masks import Masks

    embedding = predictor.encode(picture)
    rles: list[Any] = []
    scores: list[float] = []
    parts = predictor.predict_iter(
        embedding, multimask=request.multimask, refine=request.refine, **request.given
    )
    for part in parts:
        for bits, known in zip(part.masks, part.scores, strict=True):
            best = int(known.argmax())
            chosen = slice(None) if request.all_masks else slice(best, best + 1)
            some = Masks.from_bits(bits[chosen], known[chosen].tolist())
            rles += some.rles
            scores += some.scores.tolist()
    height, width = picture.pixels.shape[:2]
    masks = Masks(size=(height, width), rles=tuple(rles), scores=np.array(scores, np.float32))
    notes = embedding.notes
    if len(masks) and not masks.areas.all():
        empty = [str(i + 1) for i in np.flatnonzero(masks.areas == 0)]
        notes = (*notes, Note("mask-empty", f"no pixel belongs to mask {', '.join(empty)}"))
    return Result(
        file="",
        pixels=picture.pixels,
        masks=masks,
        asked=(),
        alternatives=request.all_masks,
        notes=notes,
    )
