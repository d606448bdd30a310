"""A model: a network and its row of the table.

`load` finds the weights (bundled, cached, downloaded, or a file of yours), tells what they are, and
fills the network with them.
"""

import hashlib
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor, nn

from anymask.errors import DeviceError, Note
from anymask.model_devices import choose_device as choose_device
from anymask.model_devices import choose_dtype as choose_dtype
from anymask.model_devices import devices as devices
from anymask.model_devices import place, plain_name
from anymask.model_options import PLAIN, Options
from anymask.model_weights import BUILDERS as BUILDERS
from anymask.model_weights import adopt as adopt
from anymask.model_weights import blank as blank
from anymask.model_weights import fill as fill
from anymask.model_weights import find_weights, row_of
from anymask.model_weights import shapes as shapes
from anymask.variant_sizes import sized
from anymask.variants import Outputs, Variant, variant
from anymask.weights.card import read_card
from anymask.weights.download import Progress
from anymask.weights.files import read_state
from anymask.weights.resize import resized


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

    def look(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P N 2"],
        labels: Int[Tensor, "P N"],
        masks: Float[Tensor, "P 1 h w"] | None,
    ) -> tuple[tuple[Tensor, ...], Float[Tensor, "P 4"]]: ...

    def draw(
        self, state: tuple[Tensor, ...], rows: Int[Tensor, " K"], outputs: Int[Tensor, " K"]
    ) -> Float[Tensor, "K h w"]: ...


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
    options
        How the encoder is run.
    """

    def __init__(
        self,
        network: nn.Module,
        variant: Variant,
        notes: tuple[Note, ...] = (),
        options: Options = PLAIN,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.variant = variant
        self.notes = notes
        self.options = options
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

    def answering(self, outputs: Outputs) -> "Model":
        """The same model whose other outputs answer, such as `anymask.variants.HQ_ALONE`.

        Weights are shared, and embeddings of the one serve the other.
        """
        other = copy(self)
        other.variant = replace(self.variant, outputs=outputs)
        return other

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over names, types, shapes and bytes of all tensors, taken once.

        It is that of the tensors in use, not of a file: a cast changes it, the kind of file does
        not; so does autocast, whose features are others. Hashing runs at about 1 GB/s, a small
        part of one encoding for every model.
        """
        digest = hashlib.sha256((self.options.autocast or "").encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(memoryview(plain.view(torch.uint8).numpy()))
        return digest.hexdigest()

    def prepare(self, pixels: Real[Tensor, "B h w 3"]) -> Float[Tensor, "B 3 H W"]:
        """Pixels, scaled already, to what the encoder takes: normalised, padded with zeros."""
        spec = self.variant.spec
        pixels = pixels.to(self.device)
        b, h, w = pixels.shape[:3]
        height, width = (-(-side // spec.multiple) * spec.multiple for side in (h, w))
        x = torch.zeros((b, 3, height, width), dtype=self.dtype, device=self.device)
        mean, std = cast(Tensor, self._mean), cast(Tensor, self._std)
        x[:, :, :h, :w] = ((pixels.float() - mean) / std).permute(0, 3, 1, 2)
        return x

    def encode(self, pixels: Real[Tensor, "B h w 3"]) -> tuple[Tensor, ...]:
        """Pixels, scaled already, to features: normalise, pad with zeros, run the encoder.

        They are in 0..255, bytes or floats as the row's ``spec.resize`` gives them.

        Raises
        ------
        DeviceError
            ``dtype-overflow``: the features left the range of float16.
        """
        x = self.prepare(pixels)
        with self.options.running(x.device):
            features = cast(Network, self.network).encode(x)
        small = self.dtype == torch.float16 or self.options.autocast == "float16"
        # bfloat16 has the range of float32; looking would make the host wait for the device
        if small and not all(part.isfinite().all() for part in features):
            raise DeviceError(
                "dtype-overflow",
                "the features of this image leave the range of the dtype",
                given="float16",
                hint="load the model in float32 or bfloat16",
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

        Output 0 answers clear prompts; outputs 1 to 3 are alternatives for ambiguous ones. Several
        prompts without masks share what a `look` shares.
        """
        if masks is None and points.shape[0] > 1:
            state, scores = self.look(features, points, labels)
            pairs = torch.arange(scores.numel(), device=scores.device)
            each = scores.shape[1]
            logits = self.draw(state, pairs // each, pairs % each)
            return logits.view(*scores.shape, *logits.shape[1:]), scores
        where = self.device
        logits, scores = cast(Network, self.network).decode(
            features,
            points.to(where),
            labels.to(where),
            None if masks is None else masks.to(where, torch.float32),
        )
        return logits.float(), scores.float()

    def look(
        self,
        features: tuple[Tensor, ...],
        points: Float[Tensor, "P N 2"],
        labels: Int[Tensor, "P N"],
        masks: Float[Tensor, "P 1 h w"] | None = None,
    ) -> tuple[tuple[Tensor, ...], Float[Tensor, "P 4"]]:
        """The first half of `decode`: predicted IoU (float32), and what `draw` makes logits of.

        Masks that nobody draws cost little. Each tensor of the state has a row a prompt, or
        one for all.
        """
        where = self.device
        state, scores = cast(Network, self.network).look(
            features,
            points.to(where),
            labels.to(where),
            None if masks is None else masks.to(where, torch.float32),
        )
        return state, scores.float()

    def clear(
        self, state: tuple[Tensor, ...], scores: Float[Tensor, "P 4"]
    ) -> tuple[Int[Tensor, " P"], Float[Tensor, " P"]]:
        """Which output of a `look` answers each prompt if it is clear, and its score."""
        answers = self.variant.outputs
        outputs = torch.full_like(scores[:, 0], answers.clear, dtype=torch.int64)
        if answers.stable:
            rows = torch.arange(len(scores), device=scores.device)
            outputs = answers.steady(self.draw(state, rows, outputs), scores)
        return outputs, scores.gather(1, outputs[:, None])[:, 0]

    def draw(
        self, state: tuple[Tensor, ...], rows: Int[Tensor, " K"], outputs: Int[Tensor, " K"]
    ) -> Float[Tensor, "K h w"]:
        """The second half: logits (float32) of chosen (prompt, output 0 to 3) pairs."""
        where = self.device
        logits = cast(Network, self.network).draw(state, rows.to(where), outputs.to(where))
        return logits.float()


class _Unsaid(str):
    """The name that `load` takes when it is given none; a checkpoint then says what it is."""


def load(
    name: str = _Unsaid("nano"),
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
    size: int | None = None,
    compile: bool = False,
    autocast: str | None = None,
    channels_last: bool = False,
    quantise: str | None = None,
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
    size
        Longest side of images as the network sees them, px, where the row has other ``sizes``
        than its own: smaller is faster and coarser.
    compile
        Compile the encoder with `torch.compile`, once for each size of input.
    autocast
        ``"bfloat16"`` or ``"float16"``: keep weights in float32 and multiply in halves.
    channels_last
        Lay the encoder's maps out in memory cell by cell.
    quantise
        ``"int8"``: linear layers of the encoder compute in bytes; a CPU only.
    progress
        Called with bytes so far and bytes in all while a file is downloaded.

    Raises
    ------
    CheckpointError
        The name is unknown; weights are missing, broken, unsafe, or of another model; the row
        has no such size.
    DeviceError
        The device, dtype or option is not to be had.
    """
    options = Options(
        compile=compile, autocast=autocast, channels_last=channels_last, quantise=quantise
    )
    if checkpoint is not None and isinstance(name, _Unsaid):
        where = place(device, dtype, options)
        path = Path(checkpoint)
        state = read_state(path)
        return _assemble(row_of(state, path), state, path, where, size, options)
    return load_variant(
        variant(name),
        checkpoint=checkpoint,
        device=device,
        dtype=dtype,
        size=size,
        options=options,
        progress=progress,
    )


def load_variant(
    row: Variant,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
    size: int | None = None,
    options: Options = PLAIN,
    progress: Progress | None = None,
) -> Model:
    """`load` for a row that need not be in the table."""
    sized(row, size)  # a wrong size is told before anything is fetched
    where = place(device, dtype, options)
    if checkpoint is None:
        path, wanted = find_weights(row, progress=progress), row.weights.bytes
    else:
        path, wanted = Path(checkpoint), None
    return _assemble(row, read_state(path, wanted=wanted), path, where, size, options)


def _assemble(
    row: Variant,
    state: Mapping[str, Tensor],
    path: Path,
    where: tuple[torch.device, torch.dtype, list[Note]],
    size: int | None,
    options: Options,
) -> Model:
    """A network filled with a file's tensors, on its device."""
    device, kind, notes = where
    native, row = row, sized(row, size)
    network = blank(row)
    ours = adopt(state, native, shapes(network if row is native else blank(native)), path)
    if row is not native:
        ours = resized(ours, shapes(network))
    stored = sorted({plain_name(t.dtype) for t in ours.values()} - {plain_name(kind)})
    bundled = row.weights.url is None and path.name == row.weights.file  # float16 to save room
    if stored and not (bundled and kind == torch.float32):
        text = f"weights stored as {', '.join(stored)} were cast to {plain_name(kind)}"
        notes = [*notes, Note("weights-cast", text)]
    card = read_card(path)
    if card is not None:
        notes = [*notes, Note("weights-finetuned", card.summary())]
    fill(network, ours, kind)
    try:
        network.to(device)
        notes = [*notes, *options.apply(network)]
        return Model(network, row, tuple(notes), options).to(device)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            "device-memory",
            f"{row.name} does not fit the memory of the device",
            given=str(device),
            hint="take device='cpu', dtype='bfloat16', or a smaller model",
        ) from error
