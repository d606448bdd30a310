"""A model: a network and its row of the table.

`load` finds the weights (bundled, cached, downloaded, or a file of yours), tells what they are, and
fills the network with them.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from anymask.errors import CheckpointError, DeviceError, Note
from anymask.nn.blank import NoValues
from anymask.nn.nano import build_nano
from anymask.nn.sam import build_sam
from anymask.variants import VARIANTS, Variant, variant
from anymask.weights.cache import bundled, located
from anymask.weights.download import Progress, fetch
from anymask.weights.files import read_state
from anymask.weights.match import Shapes, matched, mismatch


class Network(Protocol):
    """What every network can do; see the contract in `anymask.nn`."""

    encoder: nn.Module  # all that `encode` runs

    def encode(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]: ...

    def decode(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P N 2"],
        labels: Int[Tensor, "P N"],
        masks: Float[Tensor, "P 1 h w"] | None,
    ) -> tuple[Float[Tensor, "P 4 h w"], Float[Tensor, "P 4"]]: ...


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {"nano": build_nano, "sam": build_sam}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Model(nn.Module):
    """A network in eval mode with its row.

    The encoder computes in `dtype`; prompts are decoded in float32 always, because the halves
    cannot tell neighbouring positions of a large input apart, and decoding is a small part of the
    work. Features are float32.

    Attributes
    ----------
    network
        The network; see `Network`.
    variant
        Its row of the table.
    notes
        What was decided when it was loaded.
    """

    def __init__(self, network: nn.Module, variant: Variant, notes: tuple[Note, ...] = ()) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.variant = variant
        self.notes = notes
        spec = variant.spec
        self.register_buffer("_mean", torch.tensor(spec.mean), persistent=False)
        self.register_buffer("_std", torch.tensor(spec.std), persistent=False)
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the encoder computes in."""
        return next(cast(Network, self.network).encoder.parameters()).dtype

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over names, types, shapes and bytes of all tensors, taken once.

        It is that of the tensors in use, not of a file: a cast changes it, the kind of file does
        not. Hashing runs at about 1 GB/s, a small part of one encoding for every model.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(memoryview(plain.view(torch.uint8).numpy()))
        return digest.hexdigest()

    def encode(self, pixels: UInt8[Tensor, "B h w 3"]) -> tuple[Tensor, ...]:
        """Pixels, scaled already, to features: normalise, pad with zeros, run the encoder.

        Raises
        ------
        DeviceError
            ``dtype-overflow``: the features left the range of a 16-bit dtype.
        """
        spec = self.variant.spec
        pixels = pixels.to(self.device)
        b, h, w = pixels.shape[:3]
        height, width = (-(-side // spec.multiple) * spec.multiple for side in (h, w))
        x = torch.zeros((b, 3, height, width), dtype=self.dtype, device=self.device)
        mean, std = cast(Tensor, self._mean), cast(Tensor, self._std)
        x[:, :, :h, :w] = ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
        features = cast(Network, self.network).encode(x)
        if self.dtype == torch.float32:
            return features
        if not all(part.isfinite().all() for part in features):
            raise DeviceError(
                "dtype-overflow",
                "the features of this image leave the range of the dtype",
                given=str(self.dtype).removeprefix("torch."),
                hint="load the model with dtype='float32'",
            )
        return tuple(part.float() for part in features)

    def decode(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P N 2"],
        labels: Int[Tensor, "P N"],
        masks: Float[Tensor, "P 1 h w"] | None = None,
    ) -> tuple[Float[Tensor, "P 4 h w"], Float[Tensor, "P 4"]]:
        """Prompts on one image to logits and predicted IoU, all float32.

        Output 0 answers clear prompts; outputs 1 to 3 are alternatives for ambiguous ones.
        """
        where = self.device
        logits, scores = cast(Network, self.network).decode(
            features,
            points.to(where),
            labels.to(where),
            None if masks is None else masks.to(where, torch.float32),
        )
        return logits.float(), scores.float()


class _Unsaid(str):
    """The name that `load` takes when it is given none; a checkpoint then says what it is."""


def load(
    name: str = _Unsaid("nano"),
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> Model:
    """A model, ready for inference.

    Parameters
    ----------
    name
        A row of `anymask.VARIANTS`. Where only a checkpoint is given, the file says which.
    checkpoint
        A weight file (official, Hugging Face or our own) or a folder with ``model.safetensors``;
        None takes the bundled or cached one, which is downloaded the first time.
    device
        ``"auto"`` (CUDA, then MPS, then CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    dtype
        What the encoder computes in: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    progress
        Called with bytes so far and bytes in all while a file is downloaded.

    Raises
    ------
    CheckpointError
        The name is unknown; weights are missing, broken, unsafe, or of another model.
    DeviceError
        The device or dtype is not to be had.
    """
    if checkpoint is not None and isinstance(name, _Unsaid):
        place = _place(device, dtype)
        path = Path(checkpoint)
        state = read_state(path)
        return _assemble(_row_of(state, path), state, path, place)
    return load_variant(
        variant(name), checkpoint=checkpoint, device=device, dtype=dtype, progress=progress
    )


def load_variant(
    row: Variant,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
) -> Model:
    """`load` for a row that need not be in the table."""
    place = _place(device, dtype)
    if checkpoint is None:
        path, wanted = find_weights(row, progress=progress), row.weights.bytes
    else:
        path, wanted = Path(checkpoint), None
    return _assemble(row, read_state(path, wanted=wanted), path, place)


def find_weights(row: Variant, *, progress: Progress | None = None) -> Path:
    """The bundled weight file of a row, or the cached one, downloaded where it is not there.

    Raises
    ------
    CheckpointError
        ``weights-missing`` for bundled ones; for others see `anymask.weights.download.fetch`.
    """
    if row.weights.url is not None:
        return fetch(row.weights, progress=progress)
    path = located(row.weights)
    if path is None:
        raise CheckpointError(
            "weights-missing",
            f"the weights of {row.name} are not in the installed package",
            where=str(bundled(row.weights)),
            hint="install anymask again",
        )
    return path


def _assemble(
    row: Variant,
    state: Mapping[str, Tensor],
    path: Path,
    place: tuple[torch.device, torch.dtype, list[Note]],
) -> Model:
    """A network filled with a file's tensors, on its device."""
    device, kind, notes = place
    network = blank(row)
    ours = adopt(state, row, shapes(network), path)
    stored = sorted({_plain_name(t.dtype) for t in ours.values()} - {_plain_name(kind)})
    bundled = row.weights.url is None and path.name == row.weights.file  # float16 to save room
    if stored and not (bundled and kind == torch.float32):
        text = f"weights stored as {', '.join(stored)} were cast to {_plain_name(kind)}"
        notes = [*notes, Note("weights-cast", text)]
    fill(network, ours, kind)
    try:
        return Model(network, row, tuple(notes)).to(device)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            "device-memory",
            f"{row.name} does not fit the memory of the device",
            given=str(device),
            hint="take device='cpu', dtype='bfloat16', or a smaller model",
        ) from error


def blank(row: Variant) -> nn.Module:
    """A row's network whose weights have no values yet."""
    with NoValues():
        return BUILDERS[row.builder](**row.network)


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that a weight file must hold."""
    return {name: tuple(t.shape) for name, t in network.state_dict().items()}


def fill(network: nn.Module, ours: Mapping[str, Tensor], kind: torch.dtype) -> None:
    """Give a network its tensors, whose names and shapes fit; `kind` is the encoder's dtype.

    Tensors that have the wanted dtype and memory layout are taken as they are, so that there is
    one copy of them; the others are converted, once. Where the encoder is converted all are
    copied, for any tensor that is taken keeps the whole mapped file.
    """
    encoder = cast(Network, network).encoder
    in_encoder = {f"encoder.{name}" for name in encoder.state_dict()}
    taken = {}
    for name, own in network.state_dict().items():
        new, dtype = ours[name], kind if name in in_encoder else torch.float32
        if kind != torch.float32 or new.dtype != dtype or new.stride() != own.stride():
            new = torch.empty_strided(own.shape, own.stride(), dtype=dtype).copy_(new)
        taken[name] = new
    network.load_state_dict(taken, assign=True, strict=True)
    encoder.to(kind)  # buffers that it computes itself


def adopt(
    state: Mapping[str, Tensor], row: Variant, wanted: Shapes, path: Path
) -> dict[str, Tensor]:
    """A file's tensors under our names, all there and of the right shapes.

    Raises
    ------
    CheckpointError
        ``wrong-variant``: the file holds another model of the table; ``unknown-tensor``,
        ``missing-tensor``, ``tensor-shape``, ``tensor-type``: it holds none.
    """
    ours = matched(state, row, wanted)
    if ours is not None:
        return ours
    other = next((r for r in VARIANTS if r.name != row.name and fits(state, r)), None)
    if other is not None:
        raise CheckpointError(
            "wrong-variant",
            f"the file holds {other.name}, {row.name} was asked",
            where=str(path),
            hint=f"ask for {other.name}, or give the file of {row.name}",
        )
    raise mismatch(state, row, wanted, path)


def fits(state: Mapping[str, Tensor], row: Variant) -> bool:
    """Whether a file's tensors are those of a row."""
    return matched(state, row, shapes(blank(row))) is not None


def _row_of(state: Mapping[str, Tensor], path: Path) -> Variant:
    """The row of the table that a file belongs to."""
    for row in VARIANTS:
        if fits(state, row):
            return row
    raise CheckpointError(
        "checkpoint-unknown",
        "the file is none of the models that anymask knows",
        where=str(path),
        hint=f"they are {', '.join(row.name for row in VARIANTS)}; name one to see what differs",
    )


def devices() -> list[str]:
    """Names of the devices that this machine offers."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _place(device: str, dtype: str) -> tuple[torch.device, torch.dtype, list[Note]]:
    """Where and in what to compute, and what is to be said about it."""
    where, about_device = choose_device(device)
    kind, about_dtype = choose_dtype(dtype, where)
    return where, kind, [*about_device, *about_dtype]


def choose_device(name: str) -> tuple[torch.device, list[Note]]:
    """The device of a name; ``auto`` takes CUDA, then MPS, then the CPU, and a note says which.

    Raises
    ------
    DeviceError
        ``device-missing``, with the devices that there are.
    """
    have = devices()
    if name == "auto":
        best = next((d for d in ("cuda:0", "mps") if d in have), "cpu")
        text = f"computing on {best}{'; there is no GPU here' if best == 'cpu' else ''}"
        return torch.device(best), [Note("device-auto", text)]
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in have:
        hint = f"it offers {', '.join(have)}; or take device='auto'"
        problem = "this machine does not offer the device"
        raise DeviceError("device-missing", problem, given=name, hint=hint)
    return torch.device(wanted), []


def choose_dtype(name: str, device: torch.device) -> tuple[torch.dtype, list[Note]]:
    """The dtype of a name, where the device can compute in it.

    Raises
    ------
    DeviceError
        ``dtype-unknown``, ``dtype-device``.
    """
    if name not in DTYPES:
        hint = f"take one of {', '.join(DTYPES)}"
        raise DeviceError("dtype-unknown", "models do not compute in this", given=name, hint=hint)
    kind = DTYPES[name]
    try:
        probe = torch.ones((2, 2), dtype=kind, device=device)
        (probe @ probe).sum().item()
    except (RuntimeError, TypeError) as error:
        raise DeviceError(
            "dtype-device", f"{device} cannot compute in this", given=name, hint="take float32"
        ) from error
    if kind == torch.float16 and device.type == "cpu":
        text = "float16 is slow on a CPU, slower than float32; bfloat16 is the fast half"
        return kind, [Note("dtype-slow", text)]
    return kind, []


def _plain_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
