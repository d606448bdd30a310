"""Rows of SAM 2, SAM 2.1 and EdgeTAM.

The publisher states no hashes and sizes of SAM 2's files; these are what several public projects
that check their downloads agree on. 2.1 has the networks of 2 and, for videos, three tensors more.
"""

from collections.abc import Mapping
from types import MappingProxyType

from anymask.variant_specs import (
    Asset,
    EverythingSpec,
    InputSizes,
    InputSpec,
    Outputs,
    Variant,
    padding_always,
    stretch,
)
from anymask.variant_video import VideoSpec

_SPEC = InputSpec(
    side=1024,
    multiple=32,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    fit=stretch,
    resize="smooth",
    enlarge="bilinear",
    point_shift_net=0.5,
    box_shift_net=0.5,
    padding=padding_always,
)
_OUTPUTS = Outputs(stable=0.98, stable_offset=0.05)
_EVERYTHING = EverythingSpec(pred_iou_thresh=0.8)
_SIZES = InputSizes(step=32, smallest=256, largest=2048)


def _trunk(
    dim: int,
    heads: int,
    depths: tuple[int, ...],
    windows: tuple[int, ...],
    global_blocks: tuple[int, ...],
    background: int,
) -> Mapping[str, object]:
    return MappingProxyType(
        {
            "dim": dim,
            "heads": heads,
            "depths": depths,
            "windows": windows,
            "global_blocks": global_blocks,
            "background": background,
        }
    )


_TRUNKS = {
    "tiny": _trunk(96, 1, (1, 2, 7, 2), (8, 4, 14, 7), (5, 7, 9), 7),
    "small": _trunk(96, 1, (1, 2, 11, 2), (8, 4, 14, 7), (7, 10, 13), 7),
    "base-plus": _trunk(112, 2, (2, 3, 16, 3), (8, 4, 14, 7), (12, 16, 20), 14),
    "large": _trunk(144, 2, (2, 6, 36, 4), (8, 4, 16, 8), (23, 33, 43), 7),
}


def _sam2(
    version: str,
    date: str,
    size: str,
    sha256: str,
    length: int | None,
    parameters: int,
    summary: str,
) -> Variant:
    """One size of one version; `date` is that of the release, `length` the file's in bytes."""
    file = f"sam{version}_hiera_{size.replace('-', '_')}.pt"
    memory = MappingProxyType({"absent": version == "2.1"})
    return Variant(
        name=f"sam{version}-{size}",
        builder="sam2",
        network=MappingProxyType({**_TRUNKS[size], "memory": memory}),
        spec=_SPEC,
        weights=Asset(
            file=file,
            url=f"https://dl.fbaipublicfiles.com/segment_anything_2/{date}/{file}",
            bytes=length,
            sha256=sha256,
        ),
        licence="Apache-2.0",
        summary=summary,
        parameters=parameters,
        outputs=_OUTPUTS,
        everything=_EVERYTHING,
        sizes=_SIZES,
        video=VideoSpec(),
    )


SAM2_ROWS: tuple[Variant, ...] = (
    _sam2(
        "2.1",
        "092824",
        "tiny",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        156_008_466,
        38_962_498,
        "good masks in under half of sam-vit-b's time; the one to begin with",
    ),
    _sam2(
        "2.1",
        "092824",
        "small",
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        None,
        46_060_354,
        "sam2.1-tiny with four blocks more",
    ),
    _sam2(
        "2.1",
        "092824",
        "base-plus",
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        323_606_802,
        80_850_178,
        "better masks than sam2.1-tiny for about twice its time",
    ),
    _sam2(
        "2.1",
        "092824",
        "large",
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        898_083_611,
        224_446_642,
        "the best masks of SAM 2.1, slow without a GPU",
    ),
    _sam2(
        "2",
        "072824",
        "tiny",
        "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
        None,
        38_945_986,
        "the first release of sam2.1-tiny",
    ),
    _sam2(
        "2",
        "072824",
        "small",
        "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
        None,
        46_043_842,
        "the first release of sam2.1-small",
    ),
    _sam2(
        "2",
        "072824",
        "base-plus",
        "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
        None,
        80_833_666,
        "the first release of sam2.1-base-plus",
    ),
    _sam2(
        "2",
        "072824",
        "large",
        "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
        897_952_466,
        224_430_130,
        "the first release of sam2.1-large",
    ),
    Variant(
        name="edgetam",
        builder="edgetam",
        network=MappingProxyType(
            {"memory": MappingProxyType({"depth": 2, "latents": (256, 256)})},
        ),
        spec=_SPEC,
        weights=Asset(
            file="edgetam.pt",
            url="https://github.com/facebookresearch/EdgeTAM/raw/"
            "9cc44bfe9e16cc374242917b91283c718410ea87/checkpoints/edgetam.pt",
            git_blob="abd54d22bbd22ba3e53cf59a307e59e0f3701be6",
        ),
        licence="Apache-2.0",
        summary="SAM 2 behind a small encoder: the quickest of the family",
        parameters=13_864_138,
        outputs=_OUTPUTS,
        everything=_EVERYTHING,
        sizes=_SIZES,
        video=VideoSpec(step=256),  # the perceiver's 16 x 16 windows of cells of 16 px
    ),
)
