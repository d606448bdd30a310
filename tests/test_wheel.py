"""What an installation contains: nothing that a click needs may stay behind in the repository."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_carries_weights_photos_types_and_licences(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    inside = {name.removeprefix("anymask/") for name in names if name.startswith("anymask/")}
    assert {"py.typed", "weights/nano.safetensors", "photos/chelsea.png"} <= inside
    assert {"weights/coco.safetensors", "predict/coco_words.toml"} <= inside
    info = {name.split("dist-info/")[1] for name in names if "dist-info/" in name}
    assert {"licenses/LICENSE", "licenses/NOTICE", "entry_points.txt"} <= info
    package = ROOT / "src" / "anymask"
    modules = {file.relative_to(package).as_posix() for file in package.rglob("*.py")}
    assert modules <= inside
    assert not any(name.startswith(("tests/", "docs/", "runs/")) for name in names)
