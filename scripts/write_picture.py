"""Write docs/images/click.jpg from what scripts/demo made: the overlay, and the cut-out beside it.

    scripts/demo && .venv/bin/python scripts/write_picture.py

To be run, and looked at, whenever nano's weights change.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MADE = "out/demo/chelsea.png"
GAP, TILE = 12, 10  # px


def main() -> None:
    """Lay the two side by side; the cut-out on a chequered ground, where it was in the photo."""
    overlay = Image.open(ROOT / f"{MADE}.overlay.png").convert("RGB")
    cutout = Image.open(ROOT / f"{MADE}.cutout.png")
    (image,) = json.loads((ROOT / f"{MADE}.json").read_text("ascii"))["images"]
    x, y = (int(start) for start in image["masks"][0]["bbox"][:2])
    rows, columns = np.indices((overlay.height, overlay.width)) // TILE
    ground = np.where((rows + columns) % 2, 255, 225).astype(np.uint8)
    alone = Image.fromarray(ground).convert("RGB")
    alone.paste(cutout, (x, y), cutout)
    both = Image.new("RGB", (2 * overlay.width + GAP, overlay.height), "white")
    both.paste(overlay, (0, 0))
    both.paste(alone, (overlay.width + GAP, 0))
    target = ROOT / "docs" / "images" / "click.jpg"
    target.parent.mkdir(parents=True, exist_ok=True)
    both.save(target, quality=90)
    print(f"{target.relative_to(ROOT)}: {both.width} x {both.height}")


if __name__ == "__main__":
    main()
