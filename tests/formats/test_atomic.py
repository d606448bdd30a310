"""Files are written whole or not at all (rows O1 to O4 of the specification)."""

import errno
import os
import random
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from anymask.errors import OutputError
from anymask.formats import atomic
from anymask.formats.atomic import ensure_folder, sweep, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
def test_bytes_arrive_and_nothing_else_stays(tmp_path: Path, overwrite: bool) -> None:
    target = tmp_path / "made" / "on the way" / "a.bin"
    write_atomic(target, b"abc", overwrite=overwrite)
    assert target.read_bytes() == b"abc"
    assert names(target.parent) == ["a.bin"]


def test_a_function_may_write_piece_by_piece(tmp_path: Path) -> None:
    def write(file: IO[bytes]) -> None:
        file.write(b"ab")
        file.write(b"c")

    write_atomic(tmp_path / "a", write)
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("name", ["zwölf Bären\n.png", os.fsdecode(b"\xff\xfe.png"), "x" * 255])
def test_i23_strange_names_are_written_exactly(tmp_path: Path, name: str) -> None:
    write_atomic(tmp_path / name, b"1")
    assert [os.fsencode(p.name) for p in tmp_path.iterdir()] == [os.fsencode(name)]


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def write(file: IO[bytes]) -> None:
        file.write(b"half")
        raise ValueError("of the writer")

    with pytest.raises(ValueError, match="of the writer"):
        write_atomic(target, write, overwrite=True)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


# O1: crashes

CHILD = """
import sys
from anymask.formats.atomic import write_atomic
target, sizes = sys.argv[1], (300_000, 500_000)
print("ready", flush=True)
for i in range(10**9):
    digit = b"%d" % (i % 10)
    write_atomic(target, digit * sizes[i % 2], overwrite=True)
"""


def kill_while_writing(folder: Path, times: int) -> None:
    """Start a process that writes without end, kill it, look at what is there; again and again."""
    target, chance = folder / "a.bin", random.Random(0)
    stale = 0
    for _ in range(times):
        command = [sys.executable, "-c", CHILD, str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(chance.uniform(0, 0.02))
            child.kill()
        if target.exists():
            content = target.read_bytes()
            assert len(content) in (300_000, 500_000)
            assert content == content[:1] * len(content)
        stale += len(set(names(folder)) - {"a.bin"})
        sweep(folder)
        assert set(names(folder)) <= {"a.bin"}
    assert stale > 0, "no kill came while a file was being written: the test proves nothing"


def test_o1_twenty_kills_leave_whole_files_only(tmp_path: Path) -> None:
    kill_while_writing(tmp_path, 20)


@pytest.mark.slow
def test_o1_two_hundred_kills_leave_whole_files_only(tmp_path: Path) -> None:
    kill_while_writing(tmp_path, 200)


def test_o1_stale_temporary_files_are_swept_and_those_in_use_stay(tmp_path: Path) -> None:
    stale = tmp_path / ".anymask-0123456789abcdef.part"
    stale.write_bytes(b"half")
    (tmp_path / "mine.part").write_bytes(b"not of this program")
    inside, go_on = threading.Event(), threading.Event()

    def write(file: IO[bytes]) -> None:
        inside.set()
        assert go_on.wait(10)
        file.write(b"whole")

    thread = threading.Thread(target=write_atomic, args=(tmp_path / "a", write))
    thread.start()
    assert inside.wait(10)
    assert sweep(tmp_path) == 1
    go_on.set()
    thread.join()
    assert names(tmp_path) == ["a", "mine.part"]
    assert (tmp_path / "a").read_bytes() == b"whole"


# O2: the file is there


def test_o2_a_file_that_is_there_stays_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"^file-exists: .*/a: "):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    write_atomic(target, b"new", overwrite=True)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_o2_of_two_writers_at_once_only_one_gets_the_name(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, "not on this file system")

        monkeypatch.setattr(os, "link", refuse)

    def write(file: IO[bytes]) -> None:
        file.write(b"slow")
        (tmp_path / "a").write_bytes(b"fast")  # somebody else, meanwhile

    with pytest.raises(OutputError, match=r"^file-exists"):
        write_atomic(tmp_path / "a", write)
    assert (tmp_path / "a").read_bytes() == b"fast"
    assert names(tmp_path) == ["a"]


def test_o2_without_hard_links_files_are_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not on this file system")

    monkeypatch.setattr(os, "link", refuse)
    write_atomic(tmp_path / "a", b"1")
    assert names(tmp_path) == ["a"]


# O3: a folder that takes no files


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_o3_a_read_only_folder_is_named(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError) as caught:
        ensure_folder(tmp_path)
    assert caught.value.code == "folder-read-only"
    assert str(tmp_path) in str(caught.value)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="Linux")
def test_o3_a_folder_that_is_really_read_only_is_refused() -> None:
    with pytest.raises(OutputError, match=r"/proc/anymask"):
        ensure_folder("/proc/anymask")


@pytest.mark.parametrize("below", [False, True], ids=["a file", "below a file"])
def test_o3_a_file_in_place_of_a_folder_is_named(tmp_path: Path, below: bool) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"^not-a-folder: .*file"):
        ensure_folder(tmp_path / "file" / "x" if below else tmp_path / "file")


def test_o3_a_good_folder_is_made_swept_and_left_empty(tmp_path: Path) -> None:
    (tmp_path / ".anymask-00.part").write_bytes(b"")
    ensure_folder(tmp_path)
    ensure_folder(tmp_path / "new")
    assert names(tmp_path) == ["new"]
    assert names(tmp_path / "new") == []


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputError, match=r"^is-a-folder"):
        write_atomic(tmp_path / "a", b"", overwrite=True)
    assert names(tmp_path) == ["a"]


def test_a_name_too_long_for_the_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"^name-too-long"):
        write_atomic(tmp_path / ("x" * 300), b"")
    assert names(tmp_path) == []


# O4: faults of the disk at every call


class Faults:
    """Fails the n-th of all calls that write."""

    calls = ("open", "fdopen", "fsync", "link", "replace")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.number = -1, errno.EIO
        for name in self.calls:
            real = getattr(os, name)
            monkeypatch.setattr(os, name, self._wrapped(name, real))

    def arm(self, after: int, number: int) -> None:
        self.left, self.number = after, number

    def disarm(self) -> bool:
        """Whether it was still waiting for its call."""
        waiting, self.left = self.left >= 0, -1
        return waiting

    def tick(self) -> None:
        if self.left == 0:
            self.left = -1
            raise OSError(self.number, os.strerror(self.number))
        self.left -= self.left > 0

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)  # of a folder: not a write
            if name == "fsync" and not stat.S_ISREG(os.fstat(args[0]).st_mode):
                return real(*args, **kwargs)
            if name != "fdopen":
                self.tick()
                return real(*args, **kwargs)
            file = real(*args, **kwargs)
            write = file.write

            class Shaky:
                """An open file whose writes may fail."""

                def __enter__(self) -> Any:
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def __getattr__(self, name: str) -> Any:
                    return getattr(file, name)

                def write(_, data: bytes) -> int:  # noqa: N805
                    self.tick()
                    return int(write(data))

            return Shaky()

        return call


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    yield Faults(monkeypatch)


@pytest.mark.parametrize("old", [b"old", None], ids=["old file", "no old file"])
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EIO, "write-failed"),
        (errno.EROFS, "folder-read-only"),
    ],
    ids=["ENOSPC", "EDQUOT", "EIO", "EROFS"],
)
def test_o4_a_fault_at_any_call_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, faults: Faults, number: int, code: str, old: bytes | None
) -> None:
    target = tmp_path / "a"
    if old is not None:
        target.write_bytes(old)

    def write(file: IO[bytes]) -> None:
        file.write(b"new ")
        file.write(b"file")

    for after in range(100):
        faults.arm(after, number)
        try:
            write_atomic(target, write, overwrite=old is not None)
        except OutputError as error:
            assert error.code == code
            assert str(target) in str(error)
            assert error.__cause__ is not None
            assert names(tmp_path) == (["a"] if old is not None else [])
            assert old is None or target.read_bytes() == old
        if faults.disarm():
            break  # the call came through before the fault was due
    assert after >= 4
    assert target.read_bytes() == b"new file"
    assert names(tmp_path) == ["a"]


LIMITED = """
import resource, sys
from anymask.errors import OutputError
from anymask.formats.atomic import write_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomic(sys.argv[1], b"n" * 200_000, overwrite=True)
except OutputError as error:
    print(error.code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_o4_a_real_limit_of_the_system_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")
    run = [sys.executable, "-c", LIMITED, str(target)]
    assert (
        subprocess.run(run, capture_output=True, text=True, check=True).stdout == "write-failed\n"
    )
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_file_taken_by_a_sweep_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, swept = atomic._lock, []

    def slow_lock(descriptor: int, *, wait: bool) -> bool:
        if wait and not swept:
            swept.append(sweep(tmp_path))  # another process, just now
        return real(descriptor, wait=wait)

    monkeypatch.setattr(atomic, "_lock", slow_lock)
    write_atomic(tmp_path / "a", b"1")
    assert swept == [1]
    assert names(tmp_path) == ["a"]
