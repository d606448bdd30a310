"""Shapes in annotations hold: the whole way of a click runs with all of them checked.

Networks cannot be checked in the test run itself (torch.compile traces them), so this goes to an
interpreter of its own, where jaxtyping hands every annotation of the package to beartype.
"""

import subprocess
import sys
from pathlib import Path

PHOTO = Path(__file__).parent / "data" / "photos" / "dog.png"

CODE = """
import sys
import warnings
from jaxtyping import TypeCheckError, install_import_hook
with install_import_hook("anymask", "beartype.beartype"):
    import numpy as np
    import torch
    import anymask
    from anymask.mask_geometry import mask_iou
    from anymask.masks import Masks
    from anymask.model import Model
    from anymask.nn.sam import build_sam
    from anymask.variants import variant
warnings.simplefilter("error")

try:
    mask_iou(np.zeros((2, 3, 3), bool), np.zeros((2, 3, 4), bool))
except TypeCheckError:
    print("a wrong shape is seen")

predictor = anymask.ImagePredictor(anymask.load("nano", device="cpu"))
embedding = predictor.encode(sys.argv[1])
height, width = embedding.size
one = predictor.predict(embedding, points=[(90, 60)])
assert one.masks.shape == (3, height, width)
predictor.predict(embedding, points=[(90, 60)], masks=one.logits[[one.best]], multimask=False)
many = predictor.predict(
    embedding, points=[[(90, 60)], [(20, 20), (150, 100)]], labels=[[1], [1, 0]]
)
assert many.masks.shape == (2, 3, height, width)
boxed = predictor.predict(embedding, boxes=(30, 20, 160, 120))
masks = Masks.from_bits(boxed.masks, boxed.scores)
assert masks.boxes.shape == (3, 4) and len(masks.rles) == 3
print("nano holds")

small = build_sam(
    dim=32, depth=2, heads=2, global_blocks=(1,), side=64, out_dim=32, hidden=64
)
model = Model(small, variant("sam-vit-b"))
with torch.inference_mode():
    features = small.encode(torch.zeros((1, 3, 64, 64)))
    points, labels = torch.tensor([[[30.0, 20.0]]]), torch.tensor([[1]])
    logits, scores = model.decode(features, points, labels)
    model.decode(features, points, labels, logits[:, :1])
assert logits.shape == (1, 4, 16, 16) and scores.shape == (1, 4)
print("SAM holds")
"""


def test_shapes_hold_on_the_way_of_a_click():
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(PHOTO)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a wrong shape is seen", "nano holds", "SAM holds"]
