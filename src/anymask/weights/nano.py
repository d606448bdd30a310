"""Nano's tensors: files hold our own names."""

from anymask.weights.convert import Layout

_TRUNK = (
    "stem.conv",
    *(f"stage{s}.{part}" for s in range(1, 5) for part in ("in_conv.conv", "res_out_conv.conv")),
    *(f"stage{s}.res.{{}}.{part}.conv" for s in range(1, 5) for part in ("in_conv", "mid_conv")),
)
_LITE = ("stem", *(f"blocks.{{}}.{part}" for part in ("expand", "dw", "project")))
_NECK = (
    *(f"in{s}" for s in (32, 16, 8, 4)),
    *(f"attention.{part}" for part in ("norm", "qkv", "out", "mlp.{}")),
    "down8",
    "down4",
    "mix16",
    "mix8",
    "mix4",
    "parts.{}",
    "keys.{}",
)
_DECODER = (
    *(f"attention.{part}" for part in ("norm", "qkv", "out")),
    *("wide", "context", "modulate", "mix16", "out16", "mix8", "mix4", "logits", "score.{}"),
)


def _names() -> list[str]:
    both = [
        *(f"encoder.detector.{n}" for n in _TRUNK),
        *(f"encoder.lite.{n}" for n in _LITE),
        *(f"encoder.{n}" for n in _NECK),
        *(f"decoder.{n}" for n in _DECODER),
    ]
    bare = [f"decoder.{n}.weight" for n in ("where16", "where8", "where4", "down8", "down4")]
    even = [f"encoder.even.{{}}.{part}" for part in ("mean", "scale")]
    return [*(f"{n}.{part}" for n in both for part in ("weight", "bias")), *bare, *even]


OURS = Layout(name="anymask", table={name: name for name in _names()})
LAYOUTS = (OURS,)
