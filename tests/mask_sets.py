"""Small data sets for tests: records by hand and by hypothesis, and comparing them."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from anymask.formats import set_format
from anymask.formats.records import Record, WriteOptions, measured
from anymask.mask_rle import encode_rle


def record(name, masks, *, words=None, source=None, size=(4, 6), **more):
    """A record of bits; words are categories."""
    words = words or [None] * len(masks)
    return Record(
        image_id=name.rsplit(".", 1)[0],
        file_name=name,
        size=masks[0].shape if len(masks) else size,
        annotations=tuple(
            measured(i, encode_rle(np.asarray(mask, bool)), category=word)
            for i, (mask, word) in enumerate(zip(masks, words, strict=True), start=1)
        ),
        where=name,
        _source=source,
        _picture=name if source is not None else None,
        **more,
    )


def write(name, root, records, **options):
    """Write records in a format; the notes."""
    made = set_format(name).create(root, WriteOptions(**options))
    try:
        notes = [note for each in records for note in made.add(each)]
        return [*notes, *made.finish()]
    finally:
        made.close()


def picture(path, size, colour=(9, 9, 9), **options):
    """A picture file of (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], colour).save(path, **options)
    return path


def codes(notes):
    return sorted(note.code for note in notes)


SHAPES = {
    "a square": ["....", ".##.", ".##.", "...."],
    "one pixel": ["....", "..#.", "....", "...."],
    "everything": ["####", "####", "####", "####"],
    "a hole": ["####", "#..#", "#.##", "####"],
    "two parts": ["##..", "##..", "....", "..##"],
    "parts that touch at a corner": ["##..", "##..", "..##", "..##"],
    "a hole at a corner of a hole": ["#####", "#.###", "##.##", "#####"],
    "a part inside of a hole": ["#####", "#...#", "#.#.#", "#...#", "#####"],
    "a line": ["....", "####", "....", "...."],
}


def bits(rows):
    return np.array([[c == "#" for c in row] for row in rows])


def stacks(most=3):
    """Bits (N, H, W), noise and blobs."""
    shapes = st.tuples(st.integers(0, most), st.integers(1, 11), st.integers(1, 11))
    return shapes.flatmap(lambda shape: arrays(bool, shape, fill=st.booleans()))


def stored(annotations):
    return [annotation.mask() for annotation in annotations]
