"""What holds for each converter of Hugging Face's files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from anymask.weights.convert import Layout, convert, recognise
from anymask.weights.files import read_state


def hold_names(names: Mapping[str, object], layouts: Any, theirs: Layout) -> None:
    """The table has a file's names and no others."""
    assert recognise(names, layouts) is theirs
    for pattern in theirs.table:
        alone = Layout(name="alone", table={pattern: None})
        assert any(alone.knows(name) for name in names), pattern


def hold_saved_file(ours: torch.nn.Module, theirs: Any, layouts: Any, folder: Path) -> None:
    """A file that transformers saved holds the same weights under our names."""
    theirs.save_pretrained(folder)
    found = convert(read_state(folder), layouts)
    wanted = ours.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
