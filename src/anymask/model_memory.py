"""A model's memory of videos, where it has a weight file of its own beside the one for images."""

from collections.abc import Callable, Mapping
from typing import cast

from torch import nn

from anymask.errors import CheckpointError
from anymask.model import Model
from anymask.model_video import video_spec
from anymask.nn.blank import NoValues
from anymask.nn.nano_video import build_nano_video
from anymask.weights.cache import bundled, located
from anymask.weights.files import read_state

BUILDERS: Mapping[str, Callable[..., nn.Module]] = {"nano": build_nano_video}


def with_memory(model: Model) -> Model:
    """The model as it follows objects: itself, or one that shares its weights and has a memory.

    Images need no memory, so that it is read here, the first time that somebody wants a video.

    Raises
    ------
    CheckpointError
        ``no-video``: the row knows images alone; ``weights-missing``: the memory is not in the
        installed package; ``weights-other``: it is not this network's.
    """
    spec, asset = video_spec(model.variant), model.variant.memory
    if asset is None or hasattr(model.network, "memory"):
        return model
    path = located(asset)
    if path is None:
        raise CheckpointError(
            "weights-missing",
            f"the memory of {model.variant.name} is not in the installed package",
            where=str(bundled(asset)),
            hint="install anymask again",
        )
    with NoValues():
        network = BUILDERS[model.variant.builder](model.network, rows=spec.memories)
    memory = cast(nn.Module, network.memory)
    state = read_state(path, wanted=asset.bytes)
    wanted = {name: tensor.shape for name, tensor in memory.state_dict().items()}
    if wanted != {name: tensor.shape for name, tensor in state.items()}:
        raise CheckpointError(
            "weights-other", "these are not the weights of this memory", where=str(path)
        )
    memory.load_state_dict(state)
    return Model(network, model.variant, model.notes, model.options).to(model.device)
