"""A model that follows objects in videos: what its network can do beside those for images."""

from typing import Protocol, cast

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from anymask.errors import CheckpointError, DeviceError
from anymask.model import Model, Network
from anymask.nn.memory import MemoryBank as MemoryBank
from anymask.variant_video import VideoSpec
from anymask.variants import Variant

Maps = tuple[Tensor, ...]


class VideoNetwork(Network, Protocol):
    """What networks whose ``memory`` is not None can do.

    Letters: N objects, M points of each, S side of the input, h w low-resolution logits, C channels
    of vectors and pointers, K tokens of D channels that a memory of a frame has.
    """

    memory: object

    def maps(self, x: Float[Tensor, "1 3 S S"]) -> Maps:
        """A frame, normalised, to what all its objects share."""
        ...

    def forget(self, maps: Maps) -> Maps:
        """Features of objects that have no memory yet."""
        ...

    def recall(self, maps: Maps, bank: MemoryBank) -> Maps:
        """Features of N objects, each by its memories."""
        ...

    def answer(
        self,
        features: Maps,
        points: Float[Tensor, "N M 2"],
        labels: Int[Tensor, "N M"],
        masks: Float[Tensor, "N 1 h w"] | None,
    ) -> tuple[
        Float[Tensor, "N 4 h w"], Float[Tensor, "N 4"], Float[Tensor, "N 4 C"], Float[Tensor, " N"]
    ]:
        """Logits, scores, the vectors behind the logits, and whether the object is there (> 0)."""
        ...

    def pointers(
        self, vectors: Float[Tensor, "N C"], present: Float[Tensor, " N"]
    ) -> Float[Tensor, "N C"]:
        """What is remembered of an object beside its place."""
        ...

    def coded(self, masks: Float[Tensor, "N 1 S S"]) -> Float[Tensor, "N 1 h w"]:
        """Masks (0..1) that somebody made, as prompts for the vectors of their objects."""
        ...

    def remember(
        self,
        maps: Maps,
        masks: Float[Tensor, "N 1 S S"],
        present: Float[Tensor, " N"],
        binary: bool,
    ) -> Float[Tensor, "N K D"]:
        """Memories of a frame, of logits at the input's size."""
        ...


def video_network(model: Model) -> VideoNetwork:
    """The network of a model that has a row for videos."""
    return cast(VideoNetwork, model.network)


def video_spec(row: Variant) -> VideoSpec:
    """What a row says about videos.

    Raises
    ------
    CheckpointError
        ``no-video``: nothing; ``video-size``: its input size serves images alone.
    """
    if row.video is None:
        raise CheckpointError(
            "no-video",
            f"{row.name} knows images alone",
            given=row.name,
            hint="take one with a memory, such as sam2.1-tiny",
        )
    if row.spec.side % row.video.step:
        raise CheckpointError(
            "video-size",
            f"{row.name} follows objects at sizes in steps of {row.video.step} px only",
            given=row.spec.side,
            hint="load it with another size; images take this one",
        )
    return row.video


def maps_of(model: Model, pixels: Real[Tensor, "1 h w 3"]) -> Maps:
    """The maps of a frame that was resized already, float32.

    Raises
    ------
    DeviceError
        ``dtype-overflow``: they left the range of float16.
    """
    x = model.prepare(pixels)
    with model.options.running(x.device):
        maps = video_network(model).maps(x)
    small = model.dtype == torch.float16 or model.options.autocast == "float16"
    if small and not all(part.isfinite().all() for part in maps):
        raise DeviceError(
            "dtype-overflow",
            "the features of this frame leave the range of the dtype",
            given="float16",
            hint="load the model in float32 or bfloat16",
        )
    return tuple(part.float() for part in maps)
