"""Changes of colour that keep every mask right."""

import numpy as np
from jaxtyping import UInt8


def change_colours(
    pixels: UInt8[np.ndarray, "H W 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """Brightness, contrast, saturation and a tint by chance; sometimes grey; a new array."""
    if rng.random() < 0.25:
        return pixels.copy()
    gain = rng.uniform(0.7, 1.35) * rng.uniform(0.92, 1.08, 3)
    shift = rng.uniform(-20, 20)
    grey = 1.0 if rng.random() < 0.07 else rng.uniform(-0.3, 0.5)
    # one 3x3 matrix does it all: blend each channel with the mean of the three, then scale
    matrix = ((1 - grey) * np.eye(3) + grey / 3) * gain[:, None]
    offset = 127 - 127 * float(gain.mean()) + shift
    changed = pixels.astype(np.float32) @ matrix.T.astype(np.float32) + np.float32(offset)
    out: np.ndarray = np.clip(changed, 0, 255).astype(np.uint8)
    return out
