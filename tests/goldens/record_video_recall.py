"""What SAM 2's memory attention saw, frame by frame, taken from the large reference data.

    python tests/goldens/record_video_recall.py REFERENCE    # the folder goldens/sam2 of the data

Writes ``sam2/video_recall.json``: a run a row, with its options, its calls in order, and for each
step of a model that attended to something what that was.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "sam2"


def step(one: dict[str, Any]) -> dict[str, Any] | None:
    """What one step attended to: memories as [frame, row], pointers as frames."""
    seen = one.get("att")
    if seen is None:
        return None
    return {
        "frame": seen["frame"],
        "reverse": seen["reverse"],
        "memories": [[m["frame"], m["tpos_row"]] for m in seen["spatial"]],
        "pointers": seen["pointer_frames"],
    }


def call(one: dict[str, Any]) -> dict[str, Any]:
    """A call: its name, what names frames and objects in it, its attending steps."""
    kept = ("frame_idx", "obj_id", "start_frame_idx", "max_frame_num_to_track", "reverse")
    return {
        "call": one["call"],
        "args": {k: v for k, v in one["args"].items() if k in kept},
        "fails": "raises" in one,
        "steps": [found for found in map(step, one["steps"]) if found is not None],
    }


def main(folder: Path) -> None:
    rows = []
    for path in sorted((folder / "video").glob("*.json")):
        run = json.loads(path.read_text())
        rows.append(
            {
                "name": path.stem,
                "overrides": run["overrides"],
                "count": run["num_frames"],
                "calls": [call(one) for one in run["calls"]],
            }
        )
    lines = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "video_recall.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
