"""A job without a network, and a folder of inputs, for the tests of runs over many inputs.

What an input's content says is done: ``bad``, ``memory``, ``die`` ... Anything else is copied into
two files. Run as a script it is a run of its own, to be killed.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anymask.errors import DeviceError, ImageError
from anymask.formats.run_folder import RunFolder
from anymask.formats.run_inputs import Item
from anymask.formats.run_items import Product
from anymask.formats.run_manifest import Plan


@dataclass
class Copy:
    """The job; `log` is a file that tells how often each input was worked on."""

    log: Path | None = None
    delay_s: float = 0.0
    largest_mb: int = 128  # what an input that says "memory" can be done with
    broken: bool = False
    calls: list[tuple[str, int]] = field(default_factory=list)

    def read(self, item: Item) -> str:
        return Path(item.path).read_text()

    def prepare(self, memory_mb: int) -> None:
        if self.broken:
            raise ZeroDivisionError("before any input")

    def make(self, item: Item, read: str, memory_mb: int) -> Product:
        self.calls.append((item.name, memory_mb))
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{item.name}\n")
        time.sleep(self.delay_s)
        self.act(read, item, memory_mb)
        files = [(f"{item.name}.txt", read.encode()), (f"{item.name}/more.txt", b"more " * 100)]
        return Product(files=files, facts={"letters": len(read)})

    def act(self, text: str, item: Item, memory_mb: int) -> None:
        worked_on = 0 if self.log is None else self.log.read_text().split().count(item.name)
        if text == "bad":
            raise ImageError("image-broken", "this is no input", where=item.name)
        if text == "lost":
            raise DeviceError("device-lost", "the device went away")
        if text == "bug":
            raise ZeroDivisionError("of ours")
        if text == "memory" and memory_mb > self.largest_mb:
            raise MemoryError("that much")
        if text == "die" or (text == "die once" and worked_on == 1):
            os.kill(os.getpid(), signal.SIGSEGV)
        if text == "exit":
            os._exit(7)
        if text == "kill once" and worked_on == 1:
            os.kill(os.getpid(), signal.SIGKILL)


class Folder:
    """The files of a folder as inputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> Iterator[str]:
        return (path.name for path in sorted(self.folder.iterdir()))

    def locate(self, name: str) -> str:
        return str(self.folder / name)


class Seen:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def kept(self, item: Item) -> None:
        self.told.append(("kept", item.name))

    def done(self, item: Item, done: Any) -> None:
        self.told.append(("done", item.name))

    def failed(self, item: Item, error: Exception) -> None:
        self.told.append(("failed", item.name))

    def remark(self, text: str) -> None:
        self.told.append(("remark", text))

    def names(self, what: str) -> list[str]:
        return [name for kind, name in self.told if kind == what]


def planned(name: str) -> tuple[str, ...]:
    return f"{name}.txt", name


def plan(**changes: Any) -> Plan:
    given = {
        "kind": "copy",
        "version": "1",
        "settings": {"side": 32, "model": "nano"},
        "machine": {"device": "cpu", "memory_mb": 256},
        "memory_mb": 256,
    }
    return Plan(**given | changes)


def run_folder(root: Path, inputs: Path, **changes: Any) -> RunFolder:
    options = {k: changes.pop(k) for k in ("accept", "finals") if k in changes}
    return RunFolder(root, plan=plan(**changes), source=Folder(inputs), planned=planned, **options)


def whole_run(root: Path, inputs: Path, job: Any, *, child: bool, **options: Any) -> Any:
    """A run to its end, with a file made of all results; the tally and the watcher."""
    from anymask.formats.run_items import Here, run_items
    from anymask.formats.run_worker import Child

    seen, changes = Seen(), {k: options.pop(k) for k in ("accept", "settings") if k in options}
    with run_folder(root, inputs, finals=("all.txt",), **changes) as folder:
        worker = Child(job, folder.new, folder.lock.descriptor) if child else Here(job, folder.new)
        try:
            tally = run_items(folder, worker, seen, **options)
        finally:
            worker.close()
        names = [item.name for item in folder.items() if item.done]
        folder.final("all.txt", "\n".join(names).encode())
        folder.settle()
    return tally, seen


if __name__ == "__main__":
    os.fsync = lambda descriptor: None  # a kill loses nothing that was written
    whole_run(Path(sys.argv[1]), Path(sys.argv[2]), Copy(delay_s=0.01), child=len(sys.argv) > 3)
