"""The table of models: one frozen row each.

Code never asks a model's name or family: what differs between models is in its row. What a row
says is told in `anymask.variant_specs`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from anymask.errors import CheckpointError
from anymask.variant_sam2 import SAM2_ROWS
from anymask.variant_specs import Asset as Asset
from anymask.variant_specs import EverythingSpec as EverythingSpec
from anymask.variant_specs import InputSizes as InputSizes
from anymask.variant_specs import InputSpec as InputSpec
from anymask.variant_specs import Outputs as Outputs
from anymask.variant_specs import Variant as Variant
from anymask.variant_specs import Zoom as Zoom
from anymask.variant_specs import keep_aspect as keep_aspect
from anymask.variant_specs import lone_padding as lone_padding
from anymask.variant_specs import no_padding as no_padding
from anymask.variant_specs import sam_padding as sam_padding
from anymask.variant_specs import six_points
from anymask.variant_specs import stretch as stretch
from anymask.variant_video import VideoSpec

_SAM_SPEC = InputSpec(
    side=1024,
    multiple=1024,
    mean=(123.675, 116.28, 103.53),
    std=(58.395, 57.12, 57.375),
    point_shift_net=0.5,
    box_shift_net=0.5,
    padding=sam_padding,
)

_SAM_SIZES = InputSizes(step=64, smallest=256, largest=2048)
_SAM_URL = "https://dl.fbaipublicfiles.com/segment_anything/"
_HQ_URL = "https://huggingface.co/lkeab/hq-sam/resolve/main/"  # the authors' own

Sizes = Mapping[str, object]


def _vit(dim: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> Sizes:
    return MappingProxyType(
        {"dim": dim, "depth": depth, "heads": heads, "global_blocks": global_blocks}
    )


_VIT_B = _vit(768, 12, 12, (2, 5, 8, 11))
_VIT_L = _vit(1024, 24, 16, (5, 11, 17, 23))
_VIT_H = _vit(1280, 32, 16, (7, 15, 23, 31))


def _sam(
    name: str,
    md5: str,
    sha256: str,
    size: int,
    parameters: int,
    network: Sizes,
    summary: str,
) -> Variant:
    """One size of SAM; the file's name ends in the first six digits of its md5.

    The publisher states no hashes and sizes; these are what several public projects that check
    their downloads agree on.
    """
    file = f"{name.replace('-', '_')}_{md5[:6]}.pth"
    return Variant(
        name=name,
        builder="sam",
        network=network,
        spec=_SAM_SPEC,
        weights=Asset(file=file, url=_SAM_URL + file, bytes=size, sha256=sha256, md5=md5),
        licence="Apache-2.0",
        summary=summary,
        parameters=parameters,
        sizes=_SAM_SIZES,
    )


HQ_AND_SAM = Outputs(clear=0, alternatives=range(1, 2))  # of SAM-HQ's networks
HQ_ALONE = Outputs(clear=2, alternatives=range(3, 4))


def _sam_hq(size: str, md5: str, parameters: int, network: Sizes, summary: str) -> Variant:
    """One size of SAM-HQ.

    The authors state no hashes; these are what public projects that check their downloads state.
    """
    file = f"sam_hq_vit_{size}.pth"
    return Variant(
        name=f"sam-hq-vit-{size}",
        builder="sam_hq",
        network=network,
        spec=_SAM_SPEC,
        weights=Asset(file=file, url=_HQ_URL + file, md5=md5),
        licence="Apache-2.0",
        summary=summary,
        parameters=parameters,
        outputs=HQ_AND_SAM,
        sizes=_SAM_SIZES,
    )


def _efficient_sam(
    letters: str, kept_as: str, git_blob: str, parameters: int, dim: int, heads: int, summary: str
) -> Variant:
    """One size of EfficientSAM, from the publisher's repository, which states no other hash."""
    commit = "d525f622e6f640acf5a0fc37c7ca1f243da5bde0"
    return Variant(
        name=f"efficient-sam-{letters}",
        builder="efficient_sam",
        network=MappingProxyType({"dim": dim, "depth": 12, "heads": heads}),
        spec=InputSpec(
            side=1024,
            multiple=16,
            mean=(123.675, 116.28, 103.53),
            std=(58.395, 57.12, 57.375),
            fit=stretch,
            resize="plain",
            enlarge="bicubic",
            point_shift_net=0.5,
            box_shift_net=0.5,
            padding=six_points,
            most_points=6,
            mask_prompts=False,
        ),
        weights=Asset(
            file=kept_as,
            url=f"https://github.com/yformer/EfficientSAM/raw/{commit}/weights/{kept_as}",
            git_blob=git_blob,
        ),
        licence="Apache-2.0",
        summary=summary,
        parameters=parameters,
        everything=EverythingSpec(pred_iou_thresh=0.7, stability_score_thresh=0.9),
        sizes=_SAM_SIZES,
    )


VARIANTS: tuple[Variant, ...] = (
    Variant(
        name="nano",
        builder="nano",
        spec=InputSpec(
            side=384,
            multiple=32,
            mean=(127.0, 127.0, 127.0),
            std=(128.0, 128.0, 128.0),
            point_shift_px=0.5,
            padding=lone_padding,
        ),
        weights=Asset(
            file="nano.safetensors",
            bytes=14_336_498,
            sha256="3daabecac58febd009ff027b198b35205848d8a675f332d67897b2b006932bef",
        ),
        licence="Apache-2.0",
        summary="bundled; a click in milliseconds on any CPU, offline",
        parameters=7_153_845,
        zoom=Zoom(below=0.2, margin=2.0, side=256, alternatives=True),
        outputs=Outputs(box_passes=2),
        sizes=InputSizes(step=32, smallest=128, largest=2048, argument=None),
        everything=EverythingSpec(
            pred_iou_thresh=0.46, stability_score_thresh=0.75, stability_score_offset=0.25
        ),
        video=VideoSpec(resize="bytes", memories=4, pointers=1, keep="float16"),
        memory=Asset(
            file="nano_video.safetensors",
            bytes=380_490,
            sha256="e034542e8845aad937d987e056521373889dbcc2debc0dcdde39ea7dc10765a1",
        ),
        tuning_rate=1e-3,
    ),
    _sam(
        "sam-vit-b",
        "01ec64d29a2fca3f0661936605ae66f8",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
        93_735_472,
        _VIT_B,
        "the original in its smallest size",
    ),
    _sam(
        "sam-vit-l",
        "0b3195507c641ddb6910d2bb5adee89c",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
        312_342_832,
        _VIT_L,
        "the original's middle size: nearly as good as the largest, half the time",
    ),
    _sam(
        "sam-vit-h",
        "4b8939a88964f0f4ff5f5b2642c598a6",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
        641_090_608,
        _VIT_H,
        "the original's largest size: the best masks of the family, slow without a GPU",
    ),
    Variant(
        name="mobile-sam",
        builder="mobile_sam",
        spec=_SAM_SPEC,
        weights=Asset(  # hashes and size: what several public projects agree on
            file="mobile_sam.pt",
            url="https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
            bytes=40_728_226,
            sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            md5="f3c0d8cda613564d499310dab6c812cd",
        ),
        licence="Apache-2.0",
        summary="SAM's decoder behind a small encoder: an image in about a second on a CPU",
        parameters=9_803_524,
        sizes=_SAM_SIZES,
    ),
    _sam_hq(
        "b",
        "c6b8953247bcfdc8bb8ef91e36a6cacc",
        94_806_576,
        _VIT_B,
        "sam-vit-b with finer edges and thin parts; one mask for each prompt",
    ),
    _sam_hq(
        "l",
        "08947267966e4264fb39523eccc33f86",
        313_676_080,
        _VIT_L,
        "sam-vit-l with finer edges and thin parts; one mask for each prompt",
    ),
    _sam_hq(
        "h",
        "3560f6b6a5a6edacd814a1325c39640a",
        642_686_000,
        _VIT_H,
        "sam-vit-h with finer edges and thin parts; one mask for each prompt",
    ),
    Variant(
        name="sam-hq-light",
        builder="sam_hq_light",
        spec=_SAM_SPEC,
        weights=Asset(
            file="sam_hq_vit_tiny.pth",
            url=_HQ_URL + "sam_hq_vit_tiny.pth",
            md5="3a661ab92d4088ccd6232fa542998a65",  # by one list, right about all others here
        ),
        licence="Apache-2.0",
        summary="mobile-sam with finer edges; one mask for each prompt",
        parameters=10_252_036,
        outputs=HQ_AND_SAM,
        sizes=_SAM_SIZES,
    ),
    _efficient_sam(
        "ti",
        "efficient_sam_vitt.pt",
        "af883c49e33c68f01107be52df0ecad26a48355f",
        10_223_204,
        192,
        3,
        "small and quick; clicks on the object and boxes, hardly clicks off it, no masks",
    ),
    _efficient_sam(
        "s",
        "efficient_sam_vits.pt.zip",
        "fa4e9f05f753e109dbde052f97d37903b833cf53",
        26_413_028,
        384,
        6,
        "as efficient-sam-ti, with better masks",
    ),
    *SAM2_ROWS,
)

_BY_NAME = {row.name: row for row in VARIANTS}


def variant(name: str) -> Variant:
    """The row of that name.

    Raises
    ------
    CheckpointError
        ``unknown-model``: no such row; the message lists all names.
    """
    if name not in _BY_NAME:
        raise CheckpointError(
            "unknown-model",
            "there is no model of this name",
            given=name,
            hint=f"choose one of {', '.join(_BY_NAME)}",
        )
    return _BY_NAME[name]
