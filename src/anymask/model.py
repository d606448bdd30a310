"""A model: a network and its row of the table.

`load` finds the weights (bundled, cached, or a file), tells what they are, and fills the network.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from anymask.errors import CheckpointError, DeviceError, Note
from anymask.nn.nano import build_nano
from anymask.nn.sam import build_sam
from anymask.variants import VARIANTS, Variant, variant
from anymask.weights import nano as nano_names
from anymask.weights import sam as sam_names
from anymask.weights.cache import cached
from anymask.weights.convert import Layout, convert, recognise
from anymask.weights.files import read_state


class Network(Protocol):
    """What every network can do; see the contract in `anymask.nn`."""

    def encode(self, x: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]: ...

    def decode(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P N 2"],
        labels: Int[Tensor, "P N"],
        masks: Float[Tensor, "P 1 h w"] | None,
    ) -> tuple[Float[Tensor, "P 4 h w"], Float[Tensor, "P 4"]]: ...


BUILDERS: Mapping[str, Callable[..., nn.Module]] = {"nano": build_nano, "sam": build_sam}
LAYOUTS: Mapping[str, Sequence[Layout]] = {"nano": nano_names.LAYOUTS, "sam": sam_names.LAYOUTS}

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Model(nn.Module):
    """A network in eval mode with its row.

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
        """What the weights are stored in."""
        return next(self.network.parameters()).dtype

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over names, types, shapes and bytes of all tensors; taken once."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(memoryview(plain.view(torch.uint8).numpy()))
        return digest.hexdigest()

    def encode(self, pixels: UInt8[Tensor, "B h w 3"]) -> tuple[Tensor, ...]:
        """Pixels, scaled already, to features: normalise, pad with zeros, run the encoder."""
        spec = self.variant.spec
        pixels = pixels.to(self.device)
        b, h, w = pixels.shape[:3]
        height, width = (-(-side // spec.multiple) * spec.multiple for side in (h, w))
        x = torch.zeros((b, 3, height, width), dtype=self.dtype, device=self.device)
        mean, std = cast(Tensor, self._mean), cast(Tensor, self._std)
        x[:, :, :h, :w] = ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
        return cast(Network, self.network).encode(x)

    def decode(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P N 2"],
        labels: Int[Tensor, "P N"],
        masks: Float[Tensor, "P 1 h w"] | None = None,
    ) -> tuple[Float[Tensor, "P 4 h w"], Float[Tensor, "P 4"]]:
        """Prompts on one image to logits and predicted IoU, both float32.

        Output 0 answers clear prompts; outputs 1 to 3 are alternatives for ambiguous ones.
        """
        logits, scores = cast(Network, self.network).decode(
            features,
            points.to(self.device),
            labels.to(self.device),
            None if masks is None else masks.to(self.device, self.dtype),
        )
        return logits.float(), scores.float()


def load(
    name: str = "nano",
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
) -> Model:
    """A model, ready for inference.

    Parameters
    ----------
    name
        A row of `anymask.VARIANTS`.
    checkpoint
        A weight file (official, Hugging Face or our own) or a folder with ``model.safetensors``;
        None takes the bundled or downloaded one.
    device
        ``"auto"`` (CUDA, then MPS, then CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    dtype
        ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Raises
    ------
    CheckpointError
        The name is unknown; weights are missing, broken, unsafe, or of another model.
    DeviceError
        The device or dtype is not to be had.
    """
    return load_variant(variant(name), checkpoint=checkpoint, device=device, dtype=dtype)


def load_variant(
    row: Variant,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
) -> Model:
    """`load` for a row that need not be in the table."""
    place, notes = _choose_device(device)
    kind = _choose_dtype(dtype, place)
    path = Path(checkpoint) if checkpoint is not None else find_weights(row)
    state = adopt(read_state(path), row, path)
    network = BUILDERS[row.builder](**row.network)
    stored = {t.dtype for t in state.values() if t.is_floating_point()}
    if checkpoint is not None and stored != {kind}:
        names = ", ".join(sorted(str(t).removeprefix("torch.") for t in stored))
        notes.append(Note("weights-cast", f"weights stored as {names} were cast to {dtype}"))
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            tensor.copy_(state[key])
    return Model(network.to(place, kind), row, tuple(notes))


def find_weights(row: Variant) -> Path:
    """The bundled or downloaded weight file of a row.

    Raises
    ------
    CheckpointError
        ``weights-missing``: it was not downloaded; the message says where it is looked for.
    """
    if row.weights.url is None:
        return Path(str(resources.files("anymask.weights").joinpath(row.weights.file)))
    return cached(row.weights, row.name)


def shapes_of(row: Variant) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a row's tensors, without allocating them."""
    with torch.device("meta"):
        network = BUILDERS[row.builder](**row.network)
    return {name: tuple(t.shape) for name, t in network.state_dict().items()}


def fits(state: Mapping[str, Tensor], row: Variant) -> bool:
    """Whether a file's tensors are those of a row."""
    layouts = LAYOUTS[row.builder]
    if recognise(list(state), layouts) is None:
        return False
    found = {name: tuple(t.shape) for name, t in convert(state, layouts).items()}
    return found == shapes_of(row)


def adopt(state: Mapping[str, Tensor], row: Variant, path: Path) -> dict[str, Tensor]:
    """A file's tensors under our names, all there and of the right shapes.

    Raises
    ------
    CheckpointError
        ``wrong-variant``: the file holds another model of the table; ``unknown-tensor``,
        ``missing-tensor``, ``tensor-shape``: it holds none.
    """
    if not fits(state, row):
        other = next((r for r in VARIANTS if r.name != row.name and fits(state, r)), None)
        if other is not None:
            raise CheckpointError(
                "wrong-variant",
                f"the file holds {other.name}, {row.name} was asked",
                where=str(path),
                hint=f"ask for {other.name}, or give the file of {row.name}",
            )
    ours = convert(state, LAYOUTS[row.builder])
    wanted = shapes_of(row)
    for name, shape in wanted.items():
        if name not in ours:
            raise CheckpointError(
                "missing-tensor",
                f"the file lacks a tensor of {row.name}",
                given=name,
                where=str(path),
                hint="is it whole, and of this model?",
            )
        if tuple(ours[name].shape) != shape:
            raise CheckpointError(
                "tensor-shape",
                f"a tensor has shape {tuple(ours[name].shape)}, {row.name} has {shape}",
                given=name,
                where=str(path),
                hint="is it the file of another size?",
            )
    strange = next((name for name in ours if name not in wanted), None)
    if strange is not None:
        raise CheckpointError(
            "unknown-tensor", f"{row.name} has no such tensor", given=strange, where=str(path)
        )
    return ours


def devices() -> list[str]:
    """Names of the devices that this machine offers."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _choose_device(name: str) -> tuple[torch.device, list[Note]]:
    have = devices()
    if name == "auto":
        best = next((d for d in ("cuda:0", "mps") if d in have), "cpu")
        text = f"computing on {best}" + ("; there is no GPU here" if best == "cpu" else "")
        return torch.device(best), [Note("device-auto", text)]
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in have:
        raise DeviceError(
            "device-missing",
            "this machine does not offer the device",
            given=name,
            hint=f"it offers {', '.join(have)}; or take device='auto'",
        )
    return torch.device(wanted), []


def _choose_dtype(name: str, device: torch.device) -> torch.dtype:
    if name not in _DTYPES:
        raise DeviceError(
            "dtype-unknown", "there is no such dtype", given=name, hint=f"one of {list(_DTYPES)}"
        )
    if name == "float16" and device.type == "cpu":
        raise DeviceError(
            "dtype-device",
            "float16 on the CPU loses masks to overflow",
            given=name,
            hint="take bfloat16 or float32",
        )
    return _DTYPES[name]
