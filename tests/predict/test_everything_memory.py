"""Everything mode keeps to the memory that it was allowed, on a large photo with many masks."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

CHILD = """
import gc, json, sys
import numpy as np
from anymask import MaskGenerator, load
from anymask.image import load_image, resize
from anymask.model import Model
from pathlib import Path
import anymask

def field(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(l.split()[1]) * 1024 for l in lines if l.startswith(name))

photo = load_image(Path(anymask.__file__).parent / "photos" / "coffee.png").pixels
pixels = np.array(resize(photo, (3000, 4000)))
model = load("nano", device="cpu")
# torch's own kernels and threads take some 50 MB once, whatever is asked
MaskGenerator(model, points_per_side=8).generate(np.array(resize(photo, (288, 384))))
gc.collect()
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = field("VmRSS")
generator = MaskGenerator(
    model, pred_iou_thresh=0.2, stability_score_thresh=0.05, box_nms_thresh=0.98,
    memory_mb=int(sys.argv[1]), mode=sys.argv[2],
)
masks = generator.generate(pixels)
peak = field("VmHWM")
result = sum(len(rle["counts"]) for rle in masks.rles)
print(json.dumps({"masks": len(masks), "peak": peak, "beside": peak - before - result}))
"""


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("memory_mb", [64, 512])
def test_a_large_photo_with_many_masks_stays_within_its_memory(memory_mb, mode):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(memory_mb), mode],
        check=True,
        capture_output=True,
        text=True,
    )
    facts = json.loads(done.stdout)
    print(facts)
    assert facts["masks"] > (1000 if mode == "exact" else 200)
    assert facts["peak"] < 2e9
    assert facts["beside"] <= 1.1 * memory_mb * 1e6
