"""An encoded image: a value that can be kept, shared between threads, saved and loaded."""

import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from anymask.errors import DataError, Note, OutputError
from anymask.prompts import Frame

FORMAT = "1"  # of saved embeddings; another number is not read


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageEmbedding:
    """What `ImagePredictor.encode` gives and `predict` takes.

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
    notes: tuple[Note, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.pixels.flags.writeable:
            view = self.pixels.view()
            view.flags.writeable = False
            object.__setattr__(self, "pixels", view)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image, px."""
        return self.frame.image

    def to_bytes(self) -> bytes:
        """One safetensors file: features, the image as PNG, the rest as metadata."""
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "PNG", compress_level=1)
        tensors = {f"feature.{i}": t.cpu().contiguous() for i, t in enumerate(self.features)}
        tensors["png"] = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
        frame = self.frame
        facts = {
            "format": FORMAT,
            "variant": self.variant,
            "fingerprint": self.fingerprint,
            "frame": json.dumps([frame.image, frame.resized, frame.padded, frame.mask_stride]),
            "notes": json.dumps([[n.code, n.text] for n in self.notes]),
        }
        return save(tensors, metadata=facts)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write to one file, whole or not at all.

        Raises
        ------
        OutputError
            ``file-exists``: the file is there and `overwrite` is off.
        """
        target = Path(path)
        if target.exists() and not overwrite:
            raise OutputError(
                "file-exists",
                "the file is there already",
                where=str(target),
                hint="pass overwrite=True",
            )
        write_whole(target, self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ImageEmbedding":
        """Read what `save` wrote, bit for bit.

        Raises
        ------
        DataError
            ``embedding-broken``: the file is missing, damaged or of another format.
        """
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata()
                if facts is None or facts.get("format") != FORMAT:
                    raise DataError(
                        "embedding-broken", "this is no embedding of this version", where=str(path)
                    )
                count = sum(name.startswith("feature.") for name in file.keys())  # noqa: SIM118
                features = tuple(file.get_tensor(f"feature.{i}") for i in range(count))
                png = file.get_tensor("png").numpy().tobytes()
        except (OSError, SafetensorError) as error:
            raise DataError(
                "embedding-broken", "the embedding cannot be read", where=str(path)
            ) from error
        return cls(
            features=features,
            frame=_frame(facts),
            pixels=np.asarray(Image.open(io.BytesIO(png))),
            variant=facts["variant"],
            fingerprint=facts["fingerprint"],
            notes=tuple(Note(code, text) for code, text in json.loads(facts["notes"])),
        )


def _frame(facts: Mapping[str, str]) -> Frame:
    image, resized, padded, stride = json.loads(facts["frame"])
    return Frame(
        image=tuple(image), resized=tuple(resized), padded=tuple(padded), mask_stride=stride
    )


def write_whole(target: Path, data: bytes) -> None:
    """Beside the target first, then in its place: a reader never sees half a file."""
    handle, name = tempfile.mkstemp(
        prefix=f".{target.name[:40]}.", suffix=".part", dir=target.parent
    )
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
