"""A predictor without a network, and a command line that uses it.

It answers with discs around the first point, or with the boxes themselves, at once. Run as a
script it is ``anymask`` with that predictor, for tests that need a process of their own.
"""

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SCORES = (0.25, 0.75, 0.5)  # of the three alternatives; the middle one is the best


@dataclass
class FakePredictor:
    """Takes what `ImagePredictor` takes, and remembers what it was asked."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    radii: tuple[int, ...] = (4, 8, 12)
    model: Any = field(default_factory=lambda: SimpleNamespace(notes=()))
    delay_s: float = 0.0

    def encode(self, picture: Any) -> Any:
        return SimpleNamespace(size=picture.pixels.shape[:2], notes=picture.notes)

    def predict_iter(
        self,
        embedding: Any,
        *,
        points: Any = None,
        labels: Any = None,
        boxes: Any = None,
        masks: Any = None,
        multimask: bool = True,
        clip: bool = False,
        refine: str | None = None,
    ) -> Any:
        given = {"points": points, "labels": labels, "boxes": boxes, "masks": masks}
        given |= {"refine": refine}
        self.calls.append(given | {"multimask": multimask})
        print("a library chats", file=sys.stderr)
        time.sleep(self.delay_s)
        y, x = np.mgrid[: embedding.size[0], : embedding.size[1]]
        radii = self.radii if multimask else self.radii[:1]
        scores = np.array([SCORES[: len(radii)]], np.float32)
        if boxes is None:
            px, py = points[0] if points is not None else (0, 0)
            discs = [np.hypot(x - px, y - py) <= radius for radius in radii]
            yield SimpleNamespace(masks=np.array([discs]), scores=scores)
            return
        for x0, y0, x1, y1 in np.atleast_2d(boxes):
            inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
            yield SimpleNamespace(masks=np.array([[inside] * len(radii)]), scores=scores)


def run_process() -> int:
    """`anymask` with the fake; loading it makes a C library's noise, and a file that says so."""
    from anymask.cli import main, segment

    def load(*_: object) -> FakePredictor:
        os.write(1, b"noise of a C library\n" if "--json" in sys.argv else b"")
        if "FAKE_READY" in os.environ:
            Path(os.environ["FAKE_READY"]).touch()
        return FakePredictor(delay_s=float(os.environ.get("FAKE_DELAY_S", "0")))

    segment._load = load
    return main()


if __name__ == "__main__":
    sys.exit(run_process())
