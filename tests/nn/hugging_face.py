"""What holds for each converter of Hugging Face's files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
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


def small_pair(
    kind: str, build: Callable[..., torch.nn.Module], layouts: Any, side: int, **decoder: int
) -> tuple[torch.nn.Module, Any]:
    """Our network, and transformers' `{kind}Model` with the same random weights."""
    transformers = pytest.importorskip("transformers", reason="a peer, for this comparison alone")
    torch.manual_seed(0)
    settings = getattr(transformers, f"{kind}Config")(
        vision_config={
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": side,
            "patch_size": 16,
            "window_size": 4,
            "global_attn_indexes": [1],
            "output_channels": 32,
            "mlp_dim": 128,
            "num_pos_feats": 16,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": side, "patch_size": 16},
        mask_decoder_config={
            "hidden_size": 32,
            "iou_head_hidden_dim": 32,
            "mlp_dim": 64,
            **decoder,
        },
    )
    theirs = getattr(transformers, f"{kind}Model")(settings).eval()
    with torch.no_grad():  # their start leaves tables at 0, which would hide mistakes
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    ours = build(
        dim=32, depth=3, heads=2, global_blocks=(1,), side=side, window=4, out_dim=32, hidden=64
    ).eval()
    ours.load_state_dict(convert(theirs.state_dict(), layouts), strict=True)
    return ours, theirs
