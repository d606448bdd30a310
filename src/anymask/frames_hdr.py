"""Wide-gamut and high-dynamic-range video to sRGB of 8 bits.

    light   PQ: ST 2084. HLG: BT.2100's inverse curve, and its rendering for a screen of
            1000 cd/m2. Others: sRGB's curve, which is what players take BT.709's for
    white   203 cd/m2, the reference of BT.2408: what is brighter becomes white
    gamut   BT.2020's primaries to BT.709's; what lies outside is cut off
    sRGB    its curve, 0..255

So the ordinary part of such a picture looks as its ordinary twin would. Highlights are lost.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

PQ, HLG = 16, 18  # transfer curves, as FFmpeg numbers them
BT2020 = 9  # primaries
_REFERENCE, _PEAK_PQ, _PEAK_HLG = 203.0, 10_000.0, 1000.0  # cd/m2
_SYSTEM_GAMMA = 1.2  # of HLG on a screen of 1000 cd/m2
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020
_TO_709 = np.array(  # BT.2087; rows give red, green, blue
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
_BAND = 1 << 16  # pixels at a time
_STEPS = 4096  # of the table of sRGB's curve


def to_srgb(
    rgb: UInt16[np.ndarray, "H W 3"], *, transfer: int, wide: bool
) -> UInt8[np.ndarray, "H W 3"]:
    """Coded values of 16 bits and full range to sRGB.

    Parameters
    ----------
    rgb
        With the matrix undone.
    transfer
        FFmpeg's number of the curve.
    wide
        The primaries are BT.2020's.
    """
    height, width = rgb.shape[:2]
    found = np.empty(rgb.shape, np.uint8)
    light, rows = _light(transfer), max(1, _BAND // width)
    for top in range(0, height, rows):
        linear = np.take(light, rgb[top : top + rows])
        if transfer == HLG:  # the screen's rendering goes by the light of all three
            shine = (linear @ _LUMA).clip(1e-6) ** (_SYSTEM_GAMMA - 1)
            linear = linear * shine[..., None] * (_PEAK_HLG / _REFERENCE)
        if wide:
            linear = linear @ _TO_709.T
        steps = (linear.clip(0, 1) ** 0.5 * (_STEPS - 1) + 0.5).astype(np.uint16)
        found[top : top + rows] = np.take(_curve(), steps)
    return found


@lru_cache(maxsize=3)
def _light(transfer: int) -> Float32[np.ndarray, " 65536"]:
    """Light of each coded value; 1 is white, for HLG the scene's brightest."""
    v = np.arange(65536) / 65535
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = v ** (1 / m2)
        light = (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) * _PEAK_PQ / _REFERENCE
    elif transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(v <= 0.5, v * v / 3, (np.exp((v - c) / a) + b) / 12)
    else:
        light = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    return np.asarray(light.astype(np.float32))


@lru_cache(maxsize=1)
def _curve() -> UInt8[np.ndarray, " steps"]:
    """sRGB of the square roots of light, in even steps: finer where it is dark."""
    light = (np.arange(_STEPS) / (_STEPS - 1)) ** 2
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * coded).astype(np.uint8))
