"""Memory on very large images, read in a process of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

CHILD = """
import json, resource, sys
import numpy as np, torch
from anymask import ImagePredictor, load

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

torch.set_num_threads(1)
predictor = ImagePredictor(load("nano", device="cpu"))
predictor.predict(predictor.encode(np.zeros((64, 64, 3), np.uint8)), points=(9, 9))
before = peak()
embedding = predictor.encode(sys.argv[1])
found = predictor.predict(embedding, points=(int(sys.argv[2]), int(sys.argv[3])))
area = int(np.count_nonzero(found.best_mask))
print(json.dumps({"pixels": embedding.pixels.nbytes, "grown": peak() - before, "area": area}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("side", [3_000, 20_000])
def test_i17_a_prediction_takes_no_more_than_two_and_a_half_times_the_pixels(tmp_path, side):
    pixels = np.full((side, side, 3), 90, np.uint8)
    x, y = side // 2, side // 3
    width, height = side // 20, side // 30
    pixels[y : y + height, x : x + width] = (210, 40, 30)
    Image.fromarray(pixels).save(tmp_path / "large.png", compress_level=1)
    del pixels
    done = subprocess.run(
        [
            *(sys.executable, "-c", CHILD, tmp_path / "large.png"),
            *(str(x + width // 2), str(y + height // 2)),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["grown"] <= 2.5 * facts["pixels"] + 64e6  # and what the first call did not touch
    assert facts["area"] == pytest.approx(width * height, rel=0.15)
