"""Which pictures teach, which are judged on: every format, odd masks, groups, twins."""

import json

import numpy as np
import pytest
from PIL import Image

from anymask.errors import AnymaskError, DataError, OutputError
from anymask.formats import SETS, guess_format
from anymask.formats.records import ReadOptions
from anymask.mask_rle import encode_rle
from anymask.train.finetune_data import Entry, groups_of, split_set, take_stock, usable
from anymask.train.finetune_order import Order, prepare
from finetune_sets import SIZE, shapes, write_set


def opened(root, **options):
    return guess_format(root).open(root, ReadOptions(**options))


def entries(*names, digests=None):
    digests = digests or [f"d{i}" for i in range(len(names))]
    pairs = zip(names, digests, strict=True)
    return tuple(Entry(image_id=name, masks=1, digest=digest) for name, digest in pairs)


def coco(root, images, annotations, categories=({"id": 1, "name": "disc"},)):
    """A COCO JSON by hand, with pictures of two rectangles."""
    (root / "images").mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(shapes(number).pixels).save(root / "images" / image["file_name"])
    table = {"images": images, "annotations": annotations, "categories": list(categories)}
    (root / "set.json").write_text(json.dumps(table))
    return root


def image(number):
    height, width = SIZE
    return {"id": number, "file_name": f"p{number}.png", "height": height, "width": width}


def square(number, image_id, **more):
    polygon = [[4, 4, 24, 4, 24, 24, 4, 24]]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "segmentation": polygon,
        "bbox": [4, 4, 20, 20],
        "area": 400,
        "iscrowd": 0,
        **more,
    }


@pytest.mark.parametrize("kind", [row.name for row in SETS if row.writer] + ["tar"])
def test_every_format_is_learnt_from(kind, tmp_path):
    name = "sa1b" if kind == "tar" else kind
    root = write_set(tmp_path / ("set.tar" if kind == "tar" else "set"), 9, kind=name)
    job = prepare(Order(data=root, output=tmp_path / "out.safetensors"))
    assert [len(job.train.ids), len(job.val.ids), len(job.judged.ids)] == [6, 1, 2]
    assert sum(entry.masks for entry in job.stock.entries) == 18
    assert not job.stock.failed and not job.stock.empty


def test_folders_of_masks_are_learnt_from(tmp_path):
    for number in range(3):
        seen = shapes(number)
        folder = tmp_path / "set" / f"p{number}"
        folder.mkdir(parents=True)
        for i, mask in enumerate(seen.masks):
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{i}.png")
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(seen.pixels).save(tmp_path / "images" / f"p{number}.png")
    stock = take_stock(opened(tmp_path / "set"))
    assert [entry.masks for entry in stock.entries] == [2, 2, 2]


def test_f14_pictures_without_masks_are_counted_and_a_set_of_nothing_else_is_refused(tmp_path):
    images = [image(n) for n in range(3)]
    root = coco(tmp_path / "set", images, [square(1, 0), square(2, 2)])
    stock = take_stock(opened(root))
    assert [e.image_id for e in stock.entries] == ["0", "2"] and stock.empty == ("1",)
    nothing = coco(tmp_path / "nothing", images, [])
    with pytest.raises(DataError, match="no-photos"):
        take_stock(opened(nothing))


def test_f15_degenerate_masks_are_dropped_and_counted_and_refused_if_strict(tmp_path):
    broken = [
        square(2, 1, segmentation=[[3, 3, 9, 9]], bbox=[3, 3, 6, 6]),
        square(3, 2, segmentation=[[40, 20, 90, 20, 90, 40, 40, 40]], bbox=[40, 20, 50, 20]),
        square(4, 3),
    ]
    root = coco(tmp_path / "set", [image(n) for n in range(4)], [square(1, 0), *broken])
    stock = take_stock(opened(root))
    lost = dict(stock.lost)
    assert lost["polygon-degenerate"] == 1 and lost["polygon-clipped"] == 1
    assert [e.image_id for e in stock.entries] == ["0", "2", "3"]
    with pytest.raises(DataError, match="polygon-degenerate"):
        take_stock(opened(root, strict=True))


def test_f16_run_lengths_of_another_size_are_told_with_the_picture_and_the_rest_goes_on(tmp_path):
    swapped = encode_rle(np.ones(SIZE[::-1], bool))
    masks = [square(1, 0), square(2, 1, segmentation=swapped), square(3, 2)]
    stock = take_stock(opened(coco(tmp_path / "set", [image(n) for n in range(3)], masks)))
    ((image_id, error),) = stock.failed
    assert image_id == "1" and "rle-size" in str(error) and "swapped" in str(error)
    assert len(stock.entries) == 2


def test_f17_ids_with_gaps_and_from_zero_are_their_own_and_twins_are_refused(tmp_path):
    images = [image(n) for n in (0, 7, 1000)]
    root = coco(tmp_path / "set", images, [square(i, n) for i, n in enumerate((0, 7, 1000))])
    assert [e.image_id for e in take_stock(opened(root)).entries] == ["0", "7", "1000"]
    twins = coco(tmp_path / "twins", images, [square(5, 0), square(5, 7)])
    with pytest.raises(DataError, match="id-twice"):
        prepare(Order(data=twins, output=tmp_path / "out.safetensors"))


@pytest.mark.parametrize("word", ["a/b", "", "../../etc/passwd", "disc"])
def test_f18_a_category_is_counted_under_its_own_word_and_is_never_a_path(tmp_path, word):
    before = sorted(tmp_path.rglob("*"))
    root = coco(
        tmp_path / "set",
        [image(0), image(1)],
        [square(1, 0), square(2, 1, category_id=2)],
        [{"id": 1, "name": word}, {"id": 2, "name": "disc"}],
    )
    counted = dict(take_stock(opened(root)).categories)
    assert counted == ({"disc": 2} if word == "disc" else {word: 1, "disc": 1})
    assert before == [] and {p.parts[len(tmp_path.parts)] for p in tmp_path.rglob("*")} == {"set"}


def test_crowds_specks_and_masks_of_nearly_all_are_not_asked_for(tmp_path):
    height, width = SIZE
    masks = [
        square(1, 0),
        square(2, 0, iscrowd=1),
        square(3, 0, segmentation=[[4, 4, 7, 4, 7, 7, 4, 7]], bbox=[4, 4, 3, 3]),
        square(4, 0, segmentation=[[0, 0, width, 0, width, height, 0, height]]),
    ]
    record = opened(coco(tmp_path / "set", [image(0)], masks)).read("0")
    assert [each.id for each in usable(record)] == [1]


def test_a_broken_picture_is_told_of_and_the_rest_goes_on(tmp_path):
    root = write_set(tmp_path / "set", 4)
    (root / "p01.png").write_bytes((root / "p01.png").read_bytes()[:200])
    stock = take_stock(opened(root))
    assert [name for name, _ in stock.failed] == ["p01"] and len(stock.entries) == 3
    with pytest.raises(AnymaskError):
        take_stock(opened(root, strict=True))


def test_f11_the_hash_of_the_data_changes_with_any_picture_or_mask(tmp_path):
    first = take_stock(opened(write_set(tmp_path / "a", 3))).sha256
    assert take_stock(opened(write_set(tmp_path / "b", 3))).sha256 == first
    other = write_set(tmp_path / "c", 3)
    Image.fromarray(shapes(99).pixels).save(other / "p02.png")
    assert take_stock(opened(other)).sha256 != first
    fewer = write_set(tmp_path / "d", 3)
    table = json.loads((fewer / "p00.json").read_text())
    table["annotations"].pop()
    (fewer / "p00.json").write_text(json.dumps(table))
    assert take_stock(opened(fewer)).sha256 != first


def test_the_split_is_by_name_alone_and_parts_share_nothing():
    names = [f"picture {i}" for i in range(40)]
    split = split_set(entries(*names))
    assert [len(split.train), len(split.val), len(split.test)] == [24, 6, 10]
    assert sorted([*split.train, *split.val, *split.test]) == sorted(names)
    again = split_set(entries(*names[::-1]))
    assert set(again.test) == set(split.test) and set(again.val) == set(split.val)


def test_of_many_pictures_only_so_many_are_judged_on():
    split = split_set(entries(*(str(i) for i in range(1000))))
    assert len(split.test) == 40 and len(split.val) == 16 and len(split.train) == 944


def test_groups_are_never_parted():
    names = [f"patient{i % 10}-{i}" for i in range(60)]
    split = split_set(entries(*names), pattern=r"(patient\d+)-")
    parts = [{n.split("-")[0] for n in part} for part in (split.train, split.val, split.test)]
    assert all(parts) and not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])


def test_pictures_of_equal_bytes_are_one_group_whatever_they_are_called():
    found = groups_of(entries("a", "b", "c", "d", digests=["x", "y", "x", "y"]))
    assert sorted(map(sorted, found.values())) == [["a", "c"], ["b", "d"]]
    chained = entries("p1-a", "p1-b", "p2-a", "p3-a", digests=["x", "y", "y", "z"])
    found = groups_of(chained, r"p\d")
    assert sorted(map(sorted, found.values())) == [["p1-a", "p1-b", "p2-a"], ["p3-a"]]


@pytest.mark.parametrize(("pattern", "what"), [("(", "no regular expression"), (r"x(\d)", "a1")])
def test_a_wrong_pattern_of_groups_is_told(pattern, what):
    with pytest.raises(DataError, match="group-pattern") as error:
        groups_of(entries("a1", "x2"), pattern)
    assert what in str(error.value)


def test_few_pictures_keep_none_aside_to_stop_by_and_one_is_too_few():
    split = split_set(entries("a", "b", "c"))
    assert len(split.test) == 1 and not split.val and len(split.train) == 2
    with pytest.raises(DataError, match="too-few-pictures"):
        split_set(entries("a"))
    assert split_set(entries("a"), apart=True).train == ("a",)


def test_a_set_of_its_own_to_judge_by_takes_its_pictures_out_of_the_others(tmp_path):
    data, apart = write_set(tmp_path / "data", 10), write_set(tmp_path / "apart", 2)
    order = Order(data=data, output=tmp_path / "out.safetensors", held_out=apart)
    job = prepare(order)
    assert job.judged.name == "apart" and len(job.judged.ids) == 2
    assert not {"p00", "p01"} & {*job.train.ids, *job.val.ids} and not job.split.test
    whole = Order(data=apart, output=tmp_path / "out.safetensors", held_out=data)
    with pytest.raises(DataError, match="too-few-pictures"):
        prepare(whole)


def test_o2_a_file_that_is_there_is_refused_before_anything_is_read(tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match="file-exists"):
        prepare(Order(data=tmp_path / "nowhere", output=target))
    assert target.read_bytes() == b"mine"


def test_o3_a_place_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="not-a-folder") as error:
        prepare(Order(data=tmp_path / "nowhere", output=tmp_path / "file" / "out.safetensors"))
    assert str(tmp_path / "file") in str(error.value)


def test_an_unknown_method_and_another_ending_are_refused(tmp_path):
    data = write_set(tmp_path / "data", 3)
    with pytest.raises(DataError, match=r"method-unknown.*lora"):
        prepare(Order(data=data, output=tmp_path / "a.safetensors", method="qlora"))
    with pytest.raises(OutputError, match="output-ending"):
        prepare(Order(data=data, output=tmp_path / "a.pth"))
