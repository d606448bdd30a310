"""What all tests share: where data lie, and array shapes checked while the tests run.

``SHARED`` is the folder of large reference data: ``$ANYMASK_SHARED``, or ``shared`` beside the
repository, or None. Tests that loop over it get an empty list where it is None; the same rows are
then covered by the small files in ``tests/data``. Use it as ``from conftest import SHARED``.
"""

import os
from pathlib import Path

from beartype import BeartypeConf, beartype
from hypothesis import settings
from jaxtyping import install_import_hook

DATA = Path(__file__).parent / "data"
PHOTOS = DATA / "photos"


def find_shared() -> Path | None:
    """The folder of reference data, or None."""
    named = os.environ.get("ANYMASK_SHARED")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared"
    return folder if folder.is_dir() else None


SHARED = find_shared()

settings.register_profile("anymask", deadline=None, derandomize=True)
settings.load_profile("anymask")

# Array shapes in annotations are checked in these parts; networks that torch.compile traces cannot
# be, and set JAXTYPING_DISABLE=1.
CHECKED = (
    "frames",
    "frames_animation",
    "frames_camera",
    "frames_pictures",
    "frames_stream",
    "image",
    "image_arrays",
    "image_color",
    "image_decode",
    "image_folder",
    "image_sniff",
    "prompts",
    "masks",
    "formats",
    "predict",
    "evaluate",
    "compat",
)
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float too
install_import_hook([f"anymask.{part}" for part in CHECKED], "conftest.checked")
