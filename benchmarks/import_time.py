"""How long do `import anymask` and `anymask --help` take?

    python benchmarks/import_time.py [--runs 11] [--json FILE]

Each run is a new interpreter, so what is measured is what a user waits for: the start of Python,
the import, and for the command what it prints. Runs of the three are interleaved; Python alone is
taken as the share that is not ours. Bounds: 0.2 s for the import (without the start of Python) and
0.5 s for the whole command. Times are in s: wall clock, and user + system of the process.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python alone": [sys.executable, "-c", "pass"],
    "import anymask": [sys.executable, "-c", "import anymask"],
    "anymask --help": [sys.executable, "-m", "anymask", "--help"],
}


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system
    return wall, used - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    for command in COMMANDS.values():
        timed(command)  # once for the caches of the disk
    runs = [{name: timed(command) for name, command in COMMANDS.items()} for _ in range(given.runs)]
    table = {
        name: {
            "wall_s": statistics.median(run[name][0] for run in runs),
            "wall_lowest_s": min(run[name][0] for run in runs),
            "wall_highest_s": max(run[name][0] for run in runs),
            "cpu_s": statistics.median(run[name][1] for run in runs),
        }
        for name in COMMANDS
    }
    print(f"{'':16}  median s  lowest  highest  CPU s")
    for name, row in table.items():
        print(
            f"{name:16}  {row['wall_s']:8.3f}  {row['wall_lowest_s']:6.3f}"
            f"  {row['wall_highest_s']:7.3f}  {row['cpu_s']:5.3f}"
        )
    ours = table["import anymask"]["wall_s"] - table["python alone"]["wall_s"]
    whole = table["anymask --help"]["wall_s"]
    print(f"import anymask: {ours:.3f} s of its own, bound 0.2: {'held' if ours <= 0.2 else 'NOT'}")
    print(f"anymask --help: {whole:.3f} s in all, bound 0.5: {'held' if whole <= 0.5 else 'NOT'}")
    if given.json:
        facts = {
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "runs": given.runs,
            "medians": table,
        }
        given.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
