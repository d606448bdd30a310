"""Weight files are read safely or refused by name (rows C1 and C2 of the specification)."""

import collections
import io
import os
import pickle
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from anymask.errors import CheckpointError
from anymask.weights.files import read_state

# PyTorch remarks on pickles that it did not write, before it refuses them
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")

STATE = {"a.weight": torch.arange(600.0).reshape(20, 30), "a.bias": torch.arange(30.0)}


def zipped(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def legacy(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=False)
    return out.getvalue()


FORMATS: dict[str, Callable[[Any], bytes]] = {
    ".safetensors": save,
    ".pth": zipped,
    ".pt": legacy,
    ".bin": zipped,
}


def refused(path: Path, **more: Any) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        read_state(path, **more)
    error = caught.value
    assert str(path) in str(error)
    assert "\n" not in str(error)
    assert "weights_only" not in str(error), "nobody must be told how to load it unsafely"
    return error


def same(state: dict[str, torch.Tensor]) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(v, STATE[k]) for k, v in state.items())


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_gives_its_tensors(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(FORMATS[suffix](STATE))
    assert same(read_state(path))


@pytest.mark.parametrize("suffix", ["", ".dat", ".pth", ".safetensors", ".pt"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_is_told_by_its_content_not_its_name(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(FORMATS[kind](STATE))
    assert same(read_state(path))


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_an_official_wrapper_is_opened(tmp_path: Path, key: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(zipped({key: collections.OrderedDict(STATE), "epoch": 3}))
    assert same(read_state(path))


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    assert refused(tmp_path).code == "checkpoint-missing"
    save_file(STATE, tmp_path / "model.safetensors")
    assert same(read_state(tmp_path))


def test_parameters_and_views_are_tensors_too(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    weight = torch.arange(12.0).reshape(3, 4)
    path.write_bytes(zipped({"w": torch.nn.Parameter(weight), "t": weight.t()}))
    state = read_state(path)
    assert torch.equal(state["w"], weight)
    assert torch.equal(state["t"], weight.t())


# C1: hostile files


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.marker}'",)


class Written:
    """Opens a file to write when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.marker), "w")


class Evaluated:
    """Evaluates code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"__import__('pathlib').Path({str(self.marker)!r}).touch()",)


WRAPPINGS: dict[str, Callable[[object], bytes]] = {
    "zip": lambda bad: zipped({**STATE, "x": bad}),
    "zip in a wrapper": lambda bad: zipped({"model": STATE, "args": bad}),
    "legacy": lambda bad: legacy({**STATE, "x": bad}),
    "plain pickle": lambda bad: pickle.dumps({"x": bad}),
    "old pickle": lambda bad: pickle.dumps({"x": bad}, protocol=0),
    "newest pickle": lambda bad: pickle.dumps({"x": bad}, protocol=5),
}


@pytest.mark.parametrize("payload", [Payload, Written, Evaluated])
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_c01_a_hostile_pickle_runs_nothing(
    tmp_path: Path, wrapping: str, suffix: str, payload: Callable[[Path], object]
) -> None:
    marker, path = tmp_path / "marker", tmp_path / f"w{suffix}"
    path.write_bytes(WRAPPINGS[wrapping](payload(marker)))
    assert refused(path).code == "checkpoint-unsafe"
    assert not marker.exists()


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_c01_a_hostile_pickle_under_another_name_runs_nothing(
    tmp_path: Path, wrapping: str
) -> None:
    marker = tmp_path / "marker"
    for name in ("w.safetensors", "w", "w.png"):
        (tmp_path / name).write_bytes(WRAPPINGS[wrapping](Payload(marker)))
        assert refused(tmp_path / name).code in ("checkpoint-unsafe", "checkpoint-not-weights")
    assert not marker.exists()


def test_c01_the_payloads_are_real(tmp_path: Path) -> None:
    for number, payload in enumerate((Payload, Written, Evaluated)):
        marker = tmp_path / str(number)
        opened = pickle.loads(pickle.dumps(payload(marker)))
        if payload is Written:
            opened.close()
        assert marker.exists()


class Plus(torch.nn.Module):
    """The smallest program."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, b"x")
    return out.getvalue()


@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize(
    "names",
    [
        ("s/data.pkl", "s/code/__torch__.py", "s/constants.pkl"),  # TorchScript
        ("e/archive_format", "e/models/model.json", "e/data/weights/w"),  # torch.export
        ("archive_format", "models/model.json"),
    ],
    ids=["script", "export", "export without a folder"],
)
def test_c01_a_program_is_refused(tmp_path: Path, suffix: str, names: tuple[str, ...]) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(archive(*names))
    error = refused(path)
    assert error.code == "checkpoint-unsafe"
    assert "program" in str(error)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_c01_a_real_torchscript_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.jit.save(torch.jit.script(Plus()), str(path))
    assert refused(path).code == "checkpoint-unsafe"


def test_c01_a_pt2_file_is_refused_whatever_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "w.pt2"
    path.write_bytes(zipped(STATE))
    assert refused(path).code == "checkpoint-unsafe"


@given(junk=st.binary(max_size=300), at=st.integers(0, 5000), kind=st.sampled_from(list(FORMATS)))
def test_c01_changed_bytes_give_tensors_or_an_error_of_ours(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int, kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"changed{kind}"
    good = FORMATS[kind](STATE)
    path.write_bytes(good[:at] + junk + good[at + len(junk) :])
    try:
        state = read_state(path)
    except CheckpointError as error:
        assert error.code.startswith("checkpoint-")
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


# C2: not whole, not weights


@pytest.mark.parametrize("percent", range(0, 100, 10))
@pytest.mark.parametrize("suffix", FORMATS)
def test_c02_a_cut_file_is_told_with_its_size(tmp_path: Path, suffix: str, percent: int) -> None:
    path, whole = tmp_path / f"w{suffix}", FORMATS[suffix](STATE)
    path.write_bytes(whole[: len(whole) * percent // 100])
    size = path.stat().st_size
    error = refused(path)
    assert error.code == ("checkpoint-truncated" if size else "checkpoint-empty")
    assert f"{size} bytes" in str(error)
    assert "fetch it again" in str(error)
    if suffix == ".safetensors" and percent > 20:  # the table is whole: it says how large
        assert f"of {len(whole)}" in str(error)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("percent", range(0, 100, 10))
def test_c02_where_the_size_is_known_both_are_told(
    tmp_path: Path, suffix: str, percent: int
) -> None:
    path, whole = tmp_path / f"w{suffix}", FORMATS[suffix](STATE)
    path.write_bytes(whole[: len(whole) * percent // 100])
    text = str(refused(path, wanted=len(whole)))
    assert f"{path.stat().st_size} bytes" in text
    assert percent == 0 or str(len(whole)) in text


def test_c02_a_file_that_is_too_long_is_told(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(zipped(STATE) + b"more")
    error = refused(path, wanted=len(zipped(STATE)))
    assert error.code == "checkpoint-damaged"


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><html><body>404</body></html>",
        b"\n  <html>\n<head>",
        b"\xef\xbb\xbf<!doctype HTML>",
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 375042383\n",
        b'{"error": "not found"}',
    ],
    ids=["html", "html, spaces", "html, mark", "xml", "lfs", "json"],
)
@pytest.mark.parametrize("suffix", FORMATS)
def test_c02_a_web_page_or_a_pointer_is_no_weight_file(
    tmp_path: Path, suffix: str, page: bytes
) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(page)
    error = refused(path)
    assert error.code == "checkpoint-not-weights"
    assert f"{len(page)} bytes" in str(error)


def test_c02_missing_folder_link_and_pipe_are_told_apart(tmp_path: Path) -> None:
    assert "no such file" in str(refused(tmp_path / "gone.pth"))
    (tmp_path / "empty").mkdir()
    assert "has no model.safetensors" in str(refused(tmp_path / "empty"))
    (tmp_path / "link.pth").symlink_to(tmp_path / "gone.pth")
    assert "leads to no file" in str(refused(tmp_path / "link.pth"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_c02_a_pipe_never_blocks(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    thread = threading.Thread(target=lambda: refused(tmp_path / "pipe.pth"), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (archive("readme.txt", "word/document.xml"), "something else"),
        (zipped([1, 2]), "a list"),
        (zipped({}), "no tensors"),
        (zipped({"a": 1.5}), "a float"),
        (zipped({"a": torch.eye(3).to_sparse()}), "a Tensor"),
        (b"some text\n" * 100, ""),
        (struct.pack("<Q", 1 << 60) + b"{" + b"x" * 100, ""),
        (struct.pack("<Q", 10) + b"{not json}" + b"x" * 100, ""),
        (bytes(range(256)) * 4, ""),
    ],
    ids=["zip", "list", "empty", "number", "sparse", "text", "huge", "no json", "noise"],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_other_files_are_no_weights(tmp_path: Path, suffix: str, content: bytes, says: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    error = refused(path)
    assert error.code.startswith("checkpoint-")
    assert says in str(error)


def test_h4_reading_changes_no_file(tmp_path: Path) -> None:
    for suffix, write in FORMATS.items():
        path = tmp_path / f"w{suffix}"
        path.write_bytes(write(STATE))
        before = path.read_bytes()
        for tensor in read_state(path).values():
            tensor.mul_(2)  # a mapped file is private
        assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == len(FORMATS)


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_zip_that_holds_one_weight_file_stands_for_it(tmp_path: Path, suffix: str) -> None:
    whole = packed(
        tmp_path / "weights.pt.zip",
        {f"some/folder/net{suffix}": FORMATS[suffix](STATE), "__MACOSX/._net": b"junk"},
    )
    assert same(read_state(whole))


def test_a_zip_of_several_files_or_of_another_zip_is_no_weight_file(tmp_path: Path) -> None:
    two = packed(tmp_path / "two.zip", {"a.pt": zipped(STATE), "b.pt": zipped(STATE)})
    assert refused(two).code == "checkpoint-not-weights"
    inner = packed(tmp_path / "inner.pt", {"a.pt": zipped(STATE)})
    outer = packed(tmp_path / "outer.zip", {"inner.pt": inner.read_bytes()})
    assert refused(outer).code == "checkpoint-not-weights"


def test_a_zip_that_would_unpack_to_far_more_than_it_is_is_refused_unread(tmp_path: Path) -> None:
    bomb = packed(tmp_path / "bomb.zip", {"net.pt": bytes(2_000_000)})
    assert refused(bomb).code == "checkpoint-damaged"


def test_what_is_wrong_in_a_zip_is_said_of_the_zip(tmp_path: Path) -> None:
    cut = zipped(STATE)[:-100]
    assert refused(packed(tmp_path / "a.zip", {"net.pt": cut})).code == "checkpoint-truncated"
    whole = packed(tmp_path / "b.zip", {"net.pt": zipped(STATE)})
    data = bytearray(whole.read_bytes())
    data[60:80] = bytes(20)
    whole.write_bytes(data)
    assert refused(whole).code == "checkpoint-damaged"


def test_a_table_whose_length_begins_like_a_pickle_is_no_pickle(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(3.0)}
    texts = (save(tensors, {"pad": "x" * n}) for n in range(8, 512, 8))
    data = next(text for text in texts if text[:1] == b"\x80")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    assert read_state(path)["a"].tolist() == [0.0, 1.0, 2.0]
