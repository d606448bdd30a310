"""`anymask` with a tiny random model for videos, for tests that need a process of their own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from anymask.cli import main, track_run, track_start
from tiny_video import tiny_video_model

if __name__ == "__main__":
    track_start.load_model = lambda *_: tiny_video_model()
    track_run._SAVED_EVERY_S = 0.2
    sys.exit(main())
