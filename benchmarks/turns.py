"""Sides of a comparison as processes of their own that run turn about.

A side prints ``ready`` when its model is loaded; for each line that it reads it runs once and
prints a JSON report in one line.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Runs = dict[str, list[dict[str, float]]]


def take_turns(commands: Mapping[str, Sequence[str]], repeats: int) -> Runs:
    """Reports of each side; the first of each, a warm-up, comes first."""
    children = {}
    for side, command in commands.items():
        child = subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        if child.stdout.readline().strip() != "ready":
            raise SystemExit(f"{side} did not start")
        children[side] = child
    runs: Runs = {side: [] for side in children}
    for _ in range(repeats + 1):
        for side, child in children.items():
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write("run\n")
            child.stdin.flush()
            runs[side].append(json.loads(child.stdout.readline()))
    for child in children.values():
        child.communicate()
    return runs


def answer(run: Callable[[], object]) -> None:
    """In a child: say that all is loaded, then run and report once for every line that comes in."""
    print("ready", flush=True)
    for _ in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")  # starts the peak afresh
        held, before, start = resident("VmRSS"), time.process_time(), time.perf_counter()
        run()
        wall, cpu = time.perf_counter() - start, time.process_time() - before
        report = {"cpu_s": cpu, "wall_s": wall, "peak_bytes": resident("VmHWM") - held}
        print(json.dumps(report), flush=True)


def resident(key: str) -> int:
    """VmRSS or VmHWM of this process, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")


def print_columns(found: Mapping[str, Mapping[str, float]]) -> None:
    """A line for each figure, a column for each thing that was measured."""
    print(f"{'':26}" + "".join(f"{name:>18}" for name in found))
    for key in next(iter(found.values())):
        print(f"{key:26}" + "".join(f"{one[key]:18.3f}" for one in found.values()))


def write_record(arguments: argparse.Namespace, found: object, runs: object) -> None:
    """Everything measured, and on what, to the file that was named."""
    import torch
    import transformers

    record = {
        "command": " ".join(["python", *sys.argv]),
        "machine": f"{platform.machine()}, {platform.system()}, {arguments.threads} threads",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "summary": found,
        "runs": runs,
    }
    arguments.json.write_text(json.dumps(record, indent=1) + "\n")
