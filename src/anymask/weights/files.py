"""Weight files to tensors, safely: safetensors, or pickles read with ``weights_only=True``.

A file that wants to run code is refused and never read in a less safe way. A file that is no weight
file is told apart before anything parses it: empty, cut off, a web page, an archive of code.
"""

import json
import pickle
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anymask.errors import CheckpointError

_WRAPPERS = ("model", "state_dict")
_FETCH = "delete it and fetch it again"
_FOLDER_FILE = "model.safetensors"
_PICKLED = (".pth", ".pt", ".bin", ".pt2", ".ckpt", ".pkl")
_MOST_PACKED = 4  # times the size of a zip that the file in it may have
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # how the newer and the older files of PyTorch begin
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"version https://git-lfs", b'{"error', b"{'error")
_REFUSED = re.compile(r".*(GLOBAL|Unsupported operand|Can only)")
_PROGRAM = re.compile(r"(^|/)(code/|constants\.pkl$|archive_format$|models/[^/]+\.json$)")


def read_state(path: Path, *, wanted: int | None = None) -> dict[str, Tensor]:
    """All tensors of a weight file by name, on the CPU.

    Takes ``.safetensors``, and ``.pth``, ``.pt``, ``.bin`` as PyTorch writes them, told apart by
    content; a folder stands for the ``model.safetensors`` in it, a zip for the only file in it. An
    official wrapper such as ``{"model": ...}`` is opened. Files are mapped where their kind allows
    it: the tensors lie in the file until they are used, so a file must not be changed in place
    while they live.

    Parameters
    ----------
    path
        The file or folder.
    wanted
        Size that the file must have, bytes; None where it is not known.

    Raises
    ------
    CheckpointError
        ``checkpoint-missing``, ``-empty``, ``-truncated``, ``-damaged``, ``-not-weights``,
        ``-unsafe`` or ``-unreadable``.
    """
    path = _existing(path)
    head, size = _begin(path)
    _refuse_strangers(path, head, size, wanted)
    packed = _packed(path, head)
    return _tensors(path, head, size) if packed is None else _unpacked(path, size, packed)


def _begin(path: Path) -> tuple[bytes, int]:
    """A file's first bytes, and its size."""
    try:
        with path.open("rb") as file:
            return file.read(512), path.stat().st_size
    except OSError as error:
        raise _wrong("unreadable", path, f"the file cannot be read ({error.strerror})") from error


def _tensors(path: Path, head: bytes, size: int) -> dict[str, Tensor]:
    """All tensors of a weight file that is not packed."""
    state = _read_pickle(path, size) if _is_torch(path, head) else _read_safe(path, size)
    state = next((v for w in _WRAPPERS if isinstance(v := state.get(w), dict)), state)
    tensors = {}
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
            what = f"a {type(value).__name__} where a plain tensor is wanted"
            raise _wrong("not-weights", path, f"the file holds {what}", str(name))
        tensors[str(name)] = value
    if not tensors:
        raise _wrong("not-weights", path, "the file holds no tensors")
    return tensors


def _wrong(
    kind: str, path: Path, problem: str, given: object = None, hint: str = _FETCH
) -> CheckpointError:
    return CheckpointError(f"checkpoint-{kind}", problem, given=given, where=str(path), hint=hint)


def _existing(path: Path) -> Path:
    """The file itself; what is no file is refused without opening it, so that nothing blocks."""
    if path.is_dir():
        inside = path / _FOLDER_FILE
        if inside.is_file():
            return inside
        raise _wrong(
            "missing", path, f"the folder has no {_FOLDER_FILE}", hint="give the weight file itself"
        )
    if path.is_file():
        return path
    if path.exists():
        problem = "this is no regular file"
    elif path.is_symlink():
        problem = "this link leads to no file"
    else:
        problem = "there is no such file"
    raise _wrong("missing", path, problem, hint="give the path of a weight file")


def _refuse_strangers(path: Path, head: bytes, size: int, wanted: int | None) -> None:
    """Refuse what its size or its first bytes give away."""
    if size == 0:
        raise _wrong("empty", path, "the file has 0 bytes")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PAGES):
        problem = f"the file of {size} bytes is a web page or a pointer, not weights"
        raise _wrong("not-weights", path, problem)
    if wanted is not None and size != wanted:
        kind = "truncated" if size < wanted else "damaged"
        raise _wrong(kind, path, f"the file has {size} bytes of {wanted}")


def _is_torch(path: Path, head: bytes) -> bool:
    """Whether PyTorch wrote it, by content; where that says nothing, by suffix."""
    looks_safe = head[4:9] == b"\0\0\0\0{"  # a table's length, whose first byte may be any
    return not looks_safe and (head.startswith((_ZIP, _PICKLE)) or path.suffix in _PICKLED)


def _packed(path: Path, head: bytes) -> zipfile.ZipInfo | None:
    """The weight file that a zip holds and nothing else, or None."""
    if not head.startswith(_ZIP) or not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [one for one in archive.infolist() if not one.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None  # whoever reads it says what is wrong
    names = [one for one in inside if not one.filename.startswith("__MACOSX/")]
    suffixes = (*_PICKLED, ".safetensors")
    alone = len(names) == 1 and names[0].filename.endswith(suffixes)
    return names[0] if alone and not names[0].filename.endswith("data.pkl") else None


def _unpacked(path: Path, size: int, packed: zipfile.ZipInfo) -> dict[str, Tensor]:
    """Tensors of a weight file in a zip, in memory."""
    if packed.file_size > _MOST_PACKED * size:  # weights are noise: they hardly shrink
        problem = f"the archive of {size} bytes would unpack to {packed.file_size}"
        raise _wrong("damaged", path, problem)
    with tempfile.TemporaryDirectory(prefix="anymask-") as folder:
        inner = Path(folder) / f"weights{Path(packed.filename).suffix}"
        try:
            with (
                zipfile.ZipFile(path) as archive,
                archive.open(packed) as source,
                inner.open("wb") as file,
            ):
                shutil.copyfileobj(source, file)
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, zlib.error) as error:
            raise _wrong("damaged", path, f"the archive of {size} bytes is damaged") from error
        try:
            head, size = _begin(inner)
            _refuse_strangers(inner, head, size, None)
            return {name: t.clone() for name, t in _tensors(inner, head, size).items()}
        except CheckpointError as error:
            raise CheckpointError(
                error.code, error.problem, given=error.given, where=str(path), hint=error.hint
            ) from None


def _read_safe(path: Path, size: int) -> dict[str, object]:
    whole = _safe_size(path, size)
    if whole is None:
        problem = f"the file of {size} bytes does not begin as a weight file does"
        raise _wrong("not-weights", path, problem)
    if size < whole:
        raise _wrong("truncated", path, f"the file has {size} bytes of {whole}")
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        problem = f"the file of {size} bytes is no sound safetensors file ({_first_line(error)})"
        raise _wrong("damaged", path, problem) from error


def _safe_size(path: Path, size: int) -> int | None:
    """Size that a safetensors file says it has, or None where it is none.

    Eight bytes give the length of a JSON table, the table gives the places of the tensors. In a
    file that ends inside the table, the end of the table is all that is known.
    """
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8 and path.suffix == ".safetensors":
            return 8
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= 100_000_000:  # the format's own bound
            return None
        table = file.read(min(length, size))
    if not table.startswith(b"{") and table:
        return None
    if len(table) < length:
        return 8 + int(length)
    try:
        places = [v["data_offsets"][1] for k, v in json.loads(table).items() if k != "__metadata__"]
        return 8 + int(length) + max((int(p) for p in places), default=0)
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def _read_pickle(path: Path, size: int) -> dict[str, object]:
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _refuse_programs(path, size)
    elif _starts(path, _ZIP):  # the table of a zip archive is its end
        problem = f"the file ends after {size} bytes, before the end of the archive"
        raise _wrong("truncated", path, problem)
    with path.open("rb") as file:
        # by name it can be mapped, but PyTorch takes this one name for another kind of file
        by_name = zipped and path.suffix != ".safetensors"
        source = str(path) if by_name else file
        try:
            loaded = torch.load(source, map_location="cpu", weights_only=True, mmap=by_name)
        except Exception as error:  # the reader lets out whatever damaged bytes lead to
            raise _unreadable(path, size, error) from None
    if not isinstance(loaded, dict):
        what = type(loaded).__name__
        raise _wrong("not-weights", path, f"the file holds a {what}, not a table of tensors")
    return loaded


def _refuse_programs(path: Path, size: int) -> None:
    """TorchScript and exported programs hold code; other archives are no weights."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _wrong("damaged", path, f"the archive of {size} bytes is damaged") from error
    if path.suffix == ".pt2" or any(_PROGRAM.search(name) for name in names):
        raise _wrong(
            "unsafe",
            path,
            "the file is a program (TorchScript or .pt2), not weights",
            hint="get the plain weights, best as safetensors",
        )
    if not any(name.endswith("data.pkl") for name in names):
        raise _wrong("not-weights", path, "the file is an archive of something else")


def _starts(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _unreadable(path: Path, size: int, error: Exception) -> CheckpointError:
    """What PyTorch's safe reader stumbled over, without its advice to take the unsafe one."""
    refused = isinstance(error, pickle.UnpicklingError)
    inner = (error.__context__ if refused else None) or error
    reason = _first_line(inner)
    if refused and _REFUSED.match(reason) and not _ends_in_a_name(path, reason):
        return _wrong(
            "unsafe",
            path,
            f"the file wants to run code; nothing of it was run ({reason})",
            hint="get plain weights from their publisher, best as safetensors",
        )
    problem = f"the file ends after {size} bytes, or is damaged ({reason})"
    return _wrong("truncated", path, problem)


def _ends_in_a_name(path: Path, reason: str) -> bool:
    """Whether a name that was refused is half a name, at which the file was cut off."""
    match = re.search(r"GLOBAL (\S+)", reason)
    if match is None:
        return False
    half = match[1].removesuffix(".").rsplit(".", 1)[-1].encode()
    with path.open("rb") as file:  # the reader takes the last byte for an end of line
        file.seek(max(0, path.stat().st_size - len(half) - 2))
        return half in file.read()


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:120] if lines else type(error).__name__
