"""Clips with masks as DAVIS has them: layouts, index PNGs, what is wrong with them."""

import io
from pathlib import Path

import numpy as np
import pytest
from byte_files import as_folder, as_tar
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anymask.errors import DataError, OutputError
from anymask.formats.davis import (
    DavisClip,
    davis_clips,
    davis_palette,
    davis_png,
    labels_of,
    read_labels,
)
from anymask.frame_masks import FrameMasks
from anymask.mask_rle import encode_rle
from conftest import SHARED
from encoded_photos import encoded

CLIPS = sorted((SHARED / "data/video").glob("*.tar")) if SHARED else []
OBJECTS = {"schoolgirls": 7, "cells-phase": 16}  # of the others: one


def the_clip(path: Path) -> DavisClip:
    """The only clip that lies there."""
    (clip,) = davis_clips(path)
    return clip


def picture(value: int, kind: str = "JPEG") -> bytes:
    return encoded(Image.new("RGB", (9, 6), (value, 100, 50)), kind)


def labels(value: int) -> np.ndarray:
    found = np.zeros((6, 9), np.uint8)
    found[1:3, 2:5] = value
    return found


def files(frames: str, masks: str, count: int = 3) -> dict[str, bytes]:
    """A clip in two folders."""
    made = {f"{frames}/{i:05d}.jpg": picture(40 * i) for i in range(count)}
    return made | {f"{masks}/{i:05d}.png": davis_png(labels(i + 1)) for i in range(count)}


def check(clip, name: str) -> None:
    assert (clip.name, len(clip)) == (name, 3)
    maps = clip.label_maps()
    assert [int(maps[i].max()) for i in range(3)] == [1, 2, 3]
    assert np.array_equal(clip.labels(2), labels(3)) and clip.labels(0).dtype == np.uint8
    with clip.open() as frames:
        assert frames.count == 3 and frames.size == (6, 9)
        assert frames.names == ["00000.jpg", "00001.jpg", "00002.jpg"]
        assert abs(int(frames.read(2)[0, 0, 0]) - 80) < 4


LAYOUTS = {
    "one clip": ("JPEGImages", "Annotations", None),
    "clips": ("JPEGImages/bear", "Annotations/bear", "bear"),
    "davis": ("JPEGImages/480p/bear", "Annotations/480p/bear", "bear"),
    "inside of a folder": ("DAVIS/JPEGImages/480p/bear", "DAVIS/Annotations/480p/bear", "bear"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prefix", ["", "./"], ids=["plain", "dotted"])
def test_every_layout_is_read_from_a_folder_and_from_a_tar(
    tmp_path: Path, layout: str, prefix: str
):
    frames, masks, name = LAYOUTS[layout]
    content = files(frames, masks)
    check(the_clip(as_folder(tmp_path / "set", content)), name or "set")
    check(the_clip(as_tar(tmp_path / "walk.tar", content, prefix)), name or "walk")


def test_of_several_sizes_the_one_of_the_benchmark_is_taken(tmp_path: Path):
    content = {
        **files("JPEGImages/1080p/bear", "Annotations/1080p/bear", 1),
        **files("JPEGImages/480p/bear", "Annotations/480p/bear"),
        **files("JPEGImages/Full-Resolution/bear", "Annotations/Full-Resolution/bear", 2),
    }
    check(the_clip(as_folder(tmp_path, content)), "bear")


def test_a_clip_is_found_by_the_folder_of_its_pictures(tmp_path: Path):
    content = {
        **files("JPEGImages/480p/bear", "Annotations/480p/bear"),
        **files("JPEGImages/480p/dog", "Annotations/480p/dog", 2),
    }
    as_folder(tmp_path, content)
    check(the_clip(tmp_path / "JPEGImages/480p/bear"), "bear")
    assert [clip.name for clip in davis_clips(tmp_path)] == ["bear", "dog"]


def test_a_folder_of_tars_gives_the_clips_of_all(tmp_path: Path):
    for name in ("c10", "c9"):
        as_tar(tmp_path / f"{name}.tar", files("JPEGImages", "Annotations"))
    clips = davis_clips(tmp_path)
    assert [clip.name for clip in clips] == ["c9", "c10"]
    check(clips[1], "c10")


@pytest.mark.parametrize("line", ["dog", "/JPEGImages/480p/dog/00000.jpg /Annotations/x.png"])
def test_a_list_chooses_clips_and_names_those_that_are_not_there(tmp_path: Path, line: str):
    content = {
        **files("JPEGImages/480p/bear", "Annotations/480p/bear"),
        **files("JPEGImages/480p/dog", "Annotations/480p/dog"),
        "ImageSets/2016/val.txt": b"bear\n",
        "ImageSets/2017/val.txt": f"{line}\n\n".encode(),
        "ImageSets/2017/test.txt": b"cat\n",
    }
    as_folder(tmp_path, content)
    assert [clip.name for clip in davis_clips(tmp_path, "val")] == ["dog"]
    with pytest.raises(DataError, match=r"^clip-missing: .*test\.txt: .*'cat'"):
        davis_clips(tmp_path, "test")
    with pytest.raises(DataError, match=r"^split-missing"):
        davis_clips(tmp_path, "train")


def test_frames_without_masks_are_told_from_empty_ones(tmp_path: Path):
    content = files("JPEGImages", "Annotations")
    del content["Annotations/00001.png"]
    content["Annotations/00002.png"] = davis_png(labels(0))
    clip = the_clip(as_folder(tmp_path, content))
    assert clip.labels(1) is None and not clip.labels(2).any()
    with pytest.raises(DataError, match=r"^clip-unmarked: .*00001\.jpg"):
        clip.label_maps()


def test_masks_of_other_names_and_places_without_a_layout_are_named(tmp_path: Path):
    content = files("JPEGImages", "Annotations", 1)
    content["Annotations/x.png"] = content.pop("Annotations/00000.png")
    with pytest.raises(DataError, match=r"^clip-unmatched: .*x\.png"):
        davis_clips(as_folder(tmp_path / "a", content))
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"^clips-none"):
        davis_clips(tmp_path / "b")
    with pytest.raises(DataError, match=r"^set-missing"):
        davis_clips(tmp_path / "c")
    (tmp_path / "d.tar").write_bytes(b"no tar")
    with pytest.raises(DataError, match=r"^tar-broken"):
        davis_clips(tmp_path / "d.tar")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "label-map-broken"),
        (davis_png(labels(1))[:60], "label-map-broken"),
        (picture(9, "PNG"), "label-map-colours"),
    ],
)
def test_a_mask_that_is_none_is_named_when_it_is_read(tmp_path: Path, data: bytes, code: str):
    content = files("JPEGImages", "Annotations") | {"Annotations/00001.png": data}
    clip = the_clip(as_folder(tmp_path, content))
    assert clip.labels(0) is not None
    with pytest.raises(DataError, match=rf"^{code}: .*00001\.png"):
        clip.labels(1)


@given(
    most=st.sampled_from([0, 1, 7, 254, 255, 256, 65535]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_a_label_map_is_read_as_it_was_written(most: int, size: tuple[int, int], seed: int):
    values = np.random.default_rng(seed).integers(0, most + 1, size)
    back = read_labels(davis_png(values), "here")
    assert np.array_equal(back, values)
    assert back.dtype == (np.uint8 if values.max() <= 255 else np.uint16)


def test_a_png_has_the_palette_of_davis():
    with Image.open(io.BytesIO(davis_png(labels(2)))) as png:
        assert png.mode == "P" and bytes(png.getpalette()) == davis_palette()
    assert [tuple(davis_palette()[3 * k : 3 * k + 3]) for k in (0, 1, 2, 3, 8, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (64, 0, 0),
        (224, 224, 192),
    ]


def test_numbers_above_255_take_16_bits_and_above_65535_are_refused():
    values = labels(1).astype(np.int32)
    values[0, 0] = 300
    with Image.open(io.BytesIO(davis_png(values))) as png:
        assert png.mode.startswith("I;16")
    values[0, 0] = 65536
    with pytest.raises(OutputError, match=r"^labels-many: .*65536"):
        davis_png(values)


def test_white_masks_of_one_object_are_object_1():
    file = io.BytesIO()
    Image.fromarray(labels(255)).save(file, "PNG")
    assert np.array_equal(read_labels(file.getvalue(), ""), labels(1))


def test_void_in_a_palette_stays_void():
    assert np.array_equal(read_labels(davis_png(labels(255)), ""), labels(255))


def test_the_map_of_a_frame_has_ids_as_values_and_small_masks_in_front():
    large = np.zeros((6, 9), bool)
    large[:5, :8] = True
    masks = FrameMasks(
        size=(6, 9),
        rles=(encode_rle(labels(1) > 0), encode_rle(large), encode_rle(large[:, ::-1] & False)),
        scores=np.ones(3, np.float32),
        frame=0,
        object_ids=(7, 300, 9),
        presence=np.ones(3, np.float32),
    )
    found = labels_of(masks)
    assert np.array_equal(found, np.where(labels(1) > 0, 7, np.where(large, 300, 0)))
    with pytest.raises(OutputError, match=r"^labels-many"):
        labels_of(
            FrameMasks(
                size=(6, 9),
                rles=masks.rles[:1],
                scores=masks.scores[:1],
                frame=0,
                object_ids=(70_000,),
                presence=masks.presence[:1],
            )
        )


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_shared_clips_are_read(path: Path):
    clip = the_clip(path)
    assert clip.name == path.stem and None not in clip.masks
    first = clip.labels(0)
    ids = set(np.unique(first).tolist()) - {0}
    if path.stem != "cells-phase":
        assert ids == set(range(1, OBJECTS.get(path.stem, 1) + 1))
    with clip.open() as frames:
        assert frames.count == len(clip) and frames.size == first.shape
        assert frames.read(len(clip) - 1).shape == (*first.shape, 3)
    assert clip.labels(len(clip) - 1).shape == first.shape
