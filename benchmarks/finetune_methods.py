"""Which method of fine-tuning gives how much, for what time and memory, and forgets how much?

Each method runs in a process of its own for as many steps. The table shows the change of mean IoU
on pictures that were kept aside, how far the answers on the bundled photos are still the former
ones, CPU minutes of reading, learning and judging together, and the largest memory of the process.

    python benchmarks/finetune_methods.py SET.tar --group '(sec\\d+)' --steps 60
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from anymask.cli.bench import peak_mib
from anymask.train.finetune_loop import Course
from anymask.train.finetune_methods import METHODS
from anymask.train.finetune_order import Order, prepare
from anymask.train.finetune_run import AGREEMENT, run


def one(chosen: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Figures of one method, in this process."""
    torch.set_num_threads(chosen.threads)
    torch.set_flush_denormal(True)
    course = Course(
        steps=chosen.steps, minutes=chosen.minutes, masks=6, checks=5, blend=chosen.blend
    )
    order = Order(
        data=chosen.data,
        output=folder / "tuned.safetensors",
        model=chosen.model,
        method=chosen.method,
        group=chosen.group,
        course=course,
        cache=folder / "cache",
    )
    result = run(prepare(order))
    return {
        "pictures": (result.card.train, result.card.val, result.card.test),
        "figures": [(f.name, f.before, f.after) for f in result.card.figures],
        "agreement": dict(result.card.others)[AGREEMENT][0].after,
        "steps": result.learned.steps,
        "cpu_min": time.process_time() / 60,
        "peak_mib": peak_mib(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--group")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--blend", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--method", help="only this one, as JSON")
    chosen = parser.parse_args()
    if chosen.method:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(one(chosen, Path(folder))))
        return
    for number, row in enumerate(METHODS):
        command = [sys.executable, *sys.argv, "--method", row.name]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        found = json.loads(done.stdout)
        if number == 0:
            names = [name for name, _, _ in found["figures"]]
            heads = [*names, "agreement", "CPU min", "MiB"]
            print(f"| | {' | '.join(heads)} |\n|---|" + "---:|" * len(heads))
            before = " | ".join(f"{value:.3f}" for _, value, _ in found["figures"])
            print(f"| before | {before} | 1 | | |")
        change = " | ".join(f"{after - value:+.3f}" for _, value, after in found["figures"])
        rest = f"{found['agreement']:.2f} | {found['cpu_min']:.1f} | {found['peak_mib']:.0f}"
        print(f"| {row.name} | {change} | {rest} |", flush=True)


if __name__ == "__main__":
    main()
