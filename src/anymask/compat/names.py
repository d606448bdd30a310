"""Names of tensors: ours inside, the official ones in every state dict that is taken or given."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from anymask.model import Model, shapes
from anymask.weights.convert import Layout, as_they_are
from anymask.weights.match import layouts_of


def official_names(model: Model) -> dict[str, str]:
    """The official name of each of our tensors.

    Our own names where a family's official tensors are not ours one by one: where the file's are
    folded or joined when it is read.
    """
    wanted = shapes(model.network)
    own = {name: name for name in wanted}
    for layout in layouts_of(model.variant, wanted):
        if layout.name == "official" and layout.finish is as_they_are:
            turned = {ours: theirs for theirs, ours in layout.table.items() if ours is not None}
            back = Layout(name="ours", table=turned)
            if all(back.knows(name) for name in wanted):
                return {name: back.rename(name) or name for name in wanted}
    return own


def speak(module: nn.Module, names: Mapping[str, str]) -> None:
    """Let a module's state dicts use other names.

    Parameters
    ----------
    module
        Anything; its children keep their own ways.
    names
        The module's own name of each tensor, and the name that stands for it outside.
    """
    back = {theirs: own for own, theirs in names.items()}
    module.register_state_dict_post_hook(_Rename(names))  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(_Rename(back))  # type: ignore[no-untyped-call]


class _Rename:
    """Both kinds of hook of a state dict: renames what lies under the module's prefix, in place."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = dict(names)

    def __call__(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
        found = [(name, new) for name, new in self.names.items() if prefix + name in state]
        renamed = {prefix + new: state.pop(prefix + name) for name, new in found}
        state.update(renamed)
