"""V11: however long a video is, memory stays that of its beginning."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
GROWTH = 50 * 2**20  # bytes, after frame 200

# Frames are made as they are asked for, or those of a clip are looped.
CHILD = """
import gc, json, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {tests!r})
from anymask.predict.video import VideoPredictor
from moving import clip, moody

how, count, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024

if folder:
    from PIL import Image
    shots = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(Path(folder).iterdir())]
else:
    shots = list(clip(50))

def frames():
    for index in range(count):
        yield shots[index % len(shots)].copy()

class Endless:  # a list that is nowhere
    def __len__(self): return count
    def __getitem__(self, index): return shots[index % len(shots)]

predictor = VideoPredictor(moody())
found = {{}}
def look(frame):
    if frame in (200, count - 1):
        gc.collect()
        found[frame] = resident()

box = [10, 10, 30, 30]
if how == "stream":
    session = predictor.start()
    for frame, pixels in enumerate(frames()):
        masks = session.step(pixels)
        if frame in (0, 3):
            session.prompt(frame, frame, boxes=box)
        look(frame)
else:
    session = predictor.start(frames() if how == "once" else Endless())
    session.prompt(0, 0, boxes=box)
    for frame, masks in session.propagate():
        if frame == 3:
            session.prompt(3, 3, boxes=box)
        look(frame)
assert masks.frame == count - 1 and len(masks) == 2
before = resident()
session.close()
print(json.dumps([found[200], found[count - 1], before]))
"""


def growth(how: str, count: int, folder: str = "") -> int:
    """Bytes that a pass in a process of its own grows by after frame 200."""
    code = CHILD.format(tests=str(HERE))
    done = subprocess.run(
        [sys.executable, "-c", code, how, str(count), folder],
        capture_output=True,
        text=True,
        timeout=3600,
        check=True,
    )
    early, late, _ = json.loads(done.stdout)
    return late - early


@pytest.mark.slow
@pytest.mark.parametrize("how", ["list", "once", "stream"])
def test_v11_ten_thousand_frames_take_the_memory_of_two_hundred(how):
    assert growth(how, 10_000) <= GROWTH


@pytest.mark.slow
@pytest.mark.parametrize("how", ["list", "stream"])
def test_v11_a_real_clip_looped_takes_the_memory_of_its_beginning(how, clip_of_photos):
    assert growth(how, 600, str(clip_of_photos)) <= GROWTH


@pytest.fixture(scope="module")
def clip_of_photos(tmp_path_factory) -> Path:
    """Ten frames of 640 x 360: a window that moves over a photo."""
    from PIL import Image

    import anymask

    folder = tmp_path_factory.mktemp("clip")
    photo = Image.open(Path(anymask.__file__).parent / "photos" / "coffee.png").convert("RGB")
    wide = photo.resize((900, 600))
    for t in range(10):
        wide.crop((20 * t, 10 * t, 640 + 20 * t, 360 + 10 * t)).save(folder / f"{t}.png")
    return folder


LARGE = """
import json, resource, sys
import numpy as np
sys.path.insert(0, {tests!r})
from anymask.predict.video import VideoPredictor
from moving import moving

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

frame = np.zeros((2160, 3840, 3), np.uint8)
frame[500:1500, 800:2600] = (200, 90, 40)
session = VideoPredictor(moving()).start([frame] * 3)
session.prompt(0, 0, boxes=[800, 500, 2600, 1500])
list(session.propagate())
before = peak()
for one in range(1, 20):
    session.prompt(0, one, boxes=[100 * one, 400, 100 * one + 900, 1500])
for _, masks in session.propagate():
    pass
assert len(masks) == 20 and masks.size == (2160, 3840) and (masks.areas > 0).sum() > 10
print(json.dumps(peak() - before))
"""


@pytest.mark.slow
def test_twenty_objects_in_4k_frames_are_never_twenty_planes():
    done = subprocess.run(
        [sys.executable, "-c", LARGE.format(tests=str(HERE))],
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    assert json.loads(done.stdout) < 20 * 2160 * 3840 / 2
