"""Sides of a comparison as processes of their own that run turn about.

A side prints ``ready`` when its model is loaded; for each line that it reads it runs once and
prints a JSON report in one line.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence

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
