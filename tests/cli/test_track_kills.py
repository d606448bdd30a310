"""`anymask track` killed at any moment, again and again: in the end all is as if nothing was."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiny_video import write_clip
from trees import results

FAKE = str(Path(__file__).with_name("fake_track.py"))
FRAMES = 40


def command(clip: Path, out: Path) -> list[str]:
    options = ["--box", "0:4,12,24,32", "--object", "a", "--point", "9:30,40", "--object", "b"]
    return [sys.executable, FAKE, "track", str(clip), *options, "-o", str(out)]


@pytest.mark.slow
def test_o01_f_eight_kills_change_nothing(tmp_path):
    clip, out = write_clip(tmp_path / "clip", FRAMES), tmp_path / "out"
    whole = tmp_path / "whole"
    subprocess.run(command(clip, whole), check=True, capture_output=True)
    draw = random.Random(0)
    kills = 0
    while kills < 8:
        before = len(list((out / "masks").glob("*.png"))) if out.exists() else 0
        with subprocess.Popen(
            command(clip, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            until = min(FRAMES - 1, before + draw.randint(1, 5))
            while process.poll() is None:
                done = len(list((out / "masks").glob("*.png"))) if out.exists() else 0
                if done >= until:
                    time.sleep(draw.random() * 0.05)
                    process.kill()
                    break
                time.sleep(0.005)
        assert process.returncode == -9
        kills += 1
    done = subprocess.run(command(clip, out), check=True, capture_output=True, text=True)
    assert "going on after" in done.stderr
    assert results(out) == results(whole)
    assert not list(out.rglob(".anymask-*.part"))
