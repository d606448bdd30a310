"""Long videos take the memory of short ones (row V11)."""

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = """
import ctypes, gc, json, sys
from pathlib import Path
import numpy as np
from anymask.formats.mp4 import Mp4Writer
from anymask.frames import open_frames

def now():
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024

path, count = Path(sys.argv[1]), int(sys.argv[2])
y, x = np.mgrid[:96, :128]
plain = np.stack([x, y, x + y], -1).astype(np.uint8)
marks = {}
with Mp4Writer(path, rate=25) as writer:
    for i in range(count):
        writer.add(np.roll(plain, i, 1))
        if i == count // 10:
            marks["written early"] = now()
marks["written"] = now()
frames = open_frames(path)
for i, pixels in enumerate(frames):
    if i == count // 10:
        marks["read early"] = now()
marks["read"], marks["count"] = now(), frames.count
for i in range(count - 1, count - 3000, -1):
    frames.read(i)
marks["backwards"] = now()
frames.close()
del frames
gc.collect()
ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system, which malloc puts off
marks["closed"] = now()
print(json.dumps(marks))
"""


def soak(path: Path, count: int) -> dict[str, int]:
    import json

    run = [sys.executable, "-c", SOAK, str(path), str(count)]
    return json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_v11_a_hundred_thousand_frames_are_written_and_read_in_flat_memory(tmp_path: Path):
    marks = soak(tmp_path / "a.mp4", 100_000)
    assert marks["count"] == 100_000
    assert marks["written"] - marks["written early"] < 20  # MB; the file's table grows with it
    # the allocator goes up and down by 10 MB; 90,000 frames are 3.3 GB
    assert marks["read"] - marks["read early"] < 25
    assert marks["backwards"] - marks["read"] < 300  # what is held for going back
    assert marks["closed"] < marks["read early"]
