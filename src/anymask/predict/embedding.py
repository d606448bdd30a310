"""An encoded image: a value that can be kept, shared between threads, saved and loaded."""

import hashlib
import io
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from anymask.errors import DataError, Note, OutputError
from anymask.frame import Frame

_LAST = "channels-last"
FORMAT = "2"  # of saved embeddings; another number is not read

_DIGEST = "~the-sha256-of-this-file-with-these-characters-in-its-place~~~~~"  # 64 characters


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageEmbedding:
    """What `ImagePredictor.encode` gives and `predict` takes.

    It never changes, so that any number of threads may use one.

    Attributes
    ----------
    features
        The network's maps, batch 1; nobody writes to them.
    frame
        Sizes on the way from image to network.
    pixels
        The image, for a second look at small objects; read-only.
    variant
        Name of the model.
    fingerprint
        SHA-256 of the model's weights.
    notes
        What was converted when the image was read.
    """

    features: tuple[Tensor, ...]
    frame: Frame
    pixels: UInt8[np.ndarray, "H W 3"]
    variant: str
    fingerprint: str
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        if self.pixels.flags.writeable:
            own = self.pixels.copy() if self.pixels.base is not None else self.pixels.view()
            own.flags.writeable = False
            object.__setattr__(self, "pixels", own)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image, px."""
        return self.frame.image

    def to(self, device: torch.device | str) -> "ImageEmbedding":
        """The same with its features on another device."""
        return replace(self, features=tuple(t.to(device) for t in self.features))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write one safetensors file, whole or not at all: features, the image as PNG, facts.

        Raises
        ------
        OutputError
            ``file-exists``: the file is there and `overwrite` is off; ``write-failed``.
        """
        target = Path(path)
        refuse_existing(target, overwrite)
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "PNG", compress_level=1)
        tensors = pack_features(self.features)
        tensors["png"] = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
        frame = self.frame
        facts = {
            "variant": self.variant,
            "fingerprint": self.fingerprint,
            "frame": json.dumps(
                [frame.image, frame.resized, frame.padded, frame.mask_stride, frame.enlarge]
            ),
            "notes": json.dumps([[n.code, n.text] for n in self.notes]),
        }
        write_whole(target, seal(tensors, facts))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ImageEmbedding":
        """Read what `save` wrote, bit for bit.

        Raises
        ------
        DataError
            ``embedding-missing``; ``embedding-broken``: the file is damaged, or is no embedding
            of this version.
        """
        try:
            tensors, facts = unseal(Path(path).read_bytes())
            pixels = np.asarray(Image.open(io.BytesIO(tensors["png"].numpy().tobytes())))
            return cls(
                features=unpack_features(tensors),
                frame=_frame(facts),
                pixels=pixels,
                variant=facts["variant"],
                fingerprint=facts["fingerprint"],
                notes=tuple(Note(code, text) for code, text in json.loads(facts["notes"])),
            )
        except OSError as error:
            raise DataError(
                "embedding-missing", "the file cannot be read", where=str(path)
            ) from error
        except (ValueError, KeyError) as error:
            raise DataError(
                "embedding-broken",
                "the file is damaged, or no embedding of this version",
                where=str(path),
                hint="encode the image again",
            ) from error


def pack_features(features: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Named tensors on the CPU, as safetensors takes them.

    The order of their values in memory is kept: it decides last bits, and speed.
    """
    packed = {}
    for i, tensor in enumerate(features):
        last = tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        if last and not tensor.is_contiguous():
            packed[f"feature.{i}.{_LAST}"] = tensor.detach().cpu().permute(0, 2, 3, 1)
        else:
            packed[f"feature.{i}"] = tensor.detach().cpu().contiguous()
    return packed


def unpack_features(tensors: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """What `pack_features` packed, in its order."""
    found = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "feature":
            index, _, order = rest.partition(".")
            found[int(index)] = tensor.permute(0, 3, 1, 2) if order == _LAST else tensor
    return tuple(found[i] for i in range(len(found)))


def seal(tensors: dict[str, Tensor], facts: Mapping[str, str]) -> bytes:
    """A safetensors file that carries the SHA-256 of itself."""
    data = safetensors.save(tensors, {**facts, "format": FORMAT, "sha256": _DIGEST})
    digest = hashlib.sha256(data).hexdigest()
    return data.replace(_DIGEST.encode(), digest.encode(), 1)


def unseal(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and facts of a sealed file.

    Raises
    ------
    ValueError
        A byte is missing or changed, or it is no sealed file of this version.
    """
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    try:
        facts = json.loads(header)["__metadata__"]
        digest, version = facts["sha256"], facts["format"]
    except (KeyError, TypeError) as error:
        raise ValueError("no facts in the file") from error
    blank = header.replace(str(digest).encode(), _DIGEST.encode(), 1)
    whole = hashlib.sha256(data[:8] + blank)
    whole.update(memoryview(data)[8 + length :])
    if version != FORMAT or whole.hexdigest() != digest:
        raise ValueError("the file is not what was written")
    try:
        return safetensors.load(data), facts
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Before the work that makes a file.

    Raises
    ------
    OutputError
        ``file-exists``: it is there, and may not be replaced.
    """
    if target.exists() and not overwrite:
        raise OutputError(
            "file-exists",
            "the file is there already",
            where=str(target),
            hint="pass overwrite=True",
        )


def write_whole(target: Path, data: bytes) -> None:
    """Beside the target first, then in its place: a reader never sees half a file.

    Folders on the way are made.

    Raises
    ------
    OutputError
        ``write-failed``, with the system's words; nothing is left behind.
    """
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            "write-failed", error.strerror or "the file cannot be written", where=str(target)
        ) from error


def _frame(facts: Mapping[str, str]) -> Frame:
    image, resized, padded, stride, enlarge = json.loads(facts["frame"])
    return Frame(
        image=tuple(image),
        resized=tuple(resized),
        padded=tuple(padded),
        mask_stride=stride,
        enlarge=enlarge,
    )
