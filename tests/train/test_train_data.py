"""What is learnt from: any format, odd annotations, changed photos, pasted objects, packs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import small_config, write_photos

from anymask.errors import DataError, OutputError, RunError
from anymask.formats import SETS
from anymask.formats.conversion import Conversion
from anymask.formats.sa1b import open_sa1b
from anymask.train.augment import Augment
from anymask.train.batches import PhotoDrawer, StepKind, draw_batch
from anymask.train.clicks import ClickMix
from anymask.train.curves import read_table
from anymask.train.feed import Feed, plan_of
from anymask.train.manifest import check_data
from anymask.train.pack import pack
from anymask.train.paste import paste_objects
from anymask.train.run import run_slice
from anymask.train.samples import View, draw_view, find_photos, look_through
from anymask.train.sources import DataSpec, open_sources

KIND = StepKind(views=2, prompts=2, side=64)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_photos(folder / "set", 5)
    return folder


@pytest.mark.parametrize("name", [row.name for row in SETS if row.writer])
def test_every_format_that_is_read_is_learnt_from(here, tmp_path, name):
    (row,) = (row for row in SETS if row.name == name)
    target = tmp_path / "set"
    if name == "coco":
        target = target / "annotations.json"
    data = open_sa1b(here / "set")
    job = Conversion(data=data, row=row, root=target, pictures="copy")
    job.check()
    job.run(lambda i, n: None, lambda i, e: None, lambda: False)
    images = "" if name in ("sa1b", "labelme") else str(here / "set")
    spec = DataSpec(path=str(target), format=name, images=images)
    sources = open_sources([spec])
    found, _ = look_through(sources, split="all")
    assert len(found) == 5 and all(photo.masks for photo in found)
    assert draw_view(found[0], 64, 4, np.random.default_rng(0)) is not None
    given = sources[0].data.read(found[0].image_id)
    first = data.read(Path(given.file_name).stem)
    assert given.annotations[0].pixels == pytest.approx(first.annotations[0].pixels, rel=0.1)


def test_a_folder_of_mask_pngs_is_learnt_from(here, tmp_path):
    import cv2

    record = next(iter(open_sa1b(here / "set")))
    (tmp_path / "masks" / record.image_id).mkdir(parents=True)
    for i, each in enumerate(record.annotations):
        file = tmp_path / "masks" / record.image_id / f"{i}.png"
        cv2.imwrite(str(file), each.mask().astype(np.uint8) * 255)
    spec = DataSpec(path=str(tmp_path / "masks"), images=str(here / "set"))
    (photo,) = find_photos([spec], split="all")
    assert photo.masks == 2


def table_of(folder):
    path = sorted(folder.glob("*.json"))[0]
    return path, json.loads(path.read_text())


def copied(here, tmp_path):
    shutil.copytree(here / "set", tmp_path / "set")
    return tmp_path / "set"


def test_f14_a_photo_without_masks_is_left_out_and_counted_and_nothing_left_is_an_error(
    here, tmp_path
):
    folder = copied(here, tmp_path)
    path, table = table_of(folder)
    path.write_text(json.dumps(table | {"annotations": []}))
    sources = open_sources([folder])
    photos, left_out = look_through(sources)
    assert len(photos) == 4 and left_out.counts == {"no-masks": 1}
    assert path.name in left_out.lines()[0]
    with pytest.raises(DataError, match="no-masks"):
        look_through(sources, strict=True)
    for each in folder.glob("*.json"):
        each.write_text(json.dumps(json.loads(each.read_text()) | {"annotations": []}))
    with pytest.raises(DataError, match="no-photos"):
        find_photos([folder])


@pytest.mark.parametrize("window", [0, 32])
def test_f14_a_photo_without_masks_can_be_a_negative_sample(here, tmp_path, window):
    folder = copied(here, tmp_path)
    for path in sorted(folder.glob("*.json"))[1:]:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    photos, left_out = look_through(open_sources([folder]), negatives=0.5)
    assert not left_out.counts and [p.masks for p in photos] == [2, 0, 0, 0, 0]
    assert photos[1].weight == 0.5 and photos[0].weight == 2**0.6
    kind = StepKind(views=2, prompts=3, side=64, window=window)
    drawer = PhotoDrawer(photos[1:], augment=Augment(paste=1))
    labels = set()
    for seed in range(20):
        batch = draw_batch(drawer, kind, ClickMix(), np.random.default_rng(seed))
        assert not batch.truth.any()
        for (x, y), (height, width), points, kinds in zip(
            batch.corners, batch.sizes, batch.points, batch.labels, strict=True
        ):
            labels |= set(kinds.flatten().tolist())
            seen = points[kinds >= 0].numpy() + np.array([x, y])
            assert (seen >= 0).all() and (seen <= np.array([width, height])).all()
    assert labels == {-1, 1, 2, 3}
    run = run_slice(small_config(folder, tmp_path / "run", negatives=20.0, steps=3))
    losses = read_table(tmp_path / "run" / "steps.csv")["loss"]
    assert run.step == 3 and np.isfinite(losses).all()


def coco_of(here, tmp_path, annotations, categories=()):
    """A COCO JSON about the first photo (120 x 90)."""
    picture = next((here / "set").glob("*.jpg"))
    table = {
        "images": [
            {"id": 0, "width": 120, "height": 90, "file_name": picture.name},
            {"id": 7, "width": 120, "height": 90, "file_name": picture.name},
        ],
        "annotations": annotations,
        "categories": list(categories),
    }
    (tmp_path / "coco.json").write_text(json.dumps(table))
    return DataSpec(path=str(tmp_path / "coco.json"), images=str(here / "set"))


SQUARE = [10, 10, 60, 10, 60, 60, 10, 60]


@pytest.mark.parametrize(
    ("outline", "code"),
    [
        ([-20, 10, 60, 10, 60, 60, -20, 60], "polygon-clipped"),
        ([10, 10, 60, 10], "polygon-degenerate"),
        ([130, 10, 160, 10, 160, 60], "mask-empty"),
    ],
)
def test_f15_outlines_are_clipped_or_dropped_and_counted_or_refused(here, tmp_path, outline, code):
    rows = [
        {"id": 1, "image_id": 0, "category_id": None, "segmentation": [outline]},
        {"id": 2, "image_id": 0, "category_id": None, "segmentation": [SQUARE]},
    ]
    spec = coco_of(here, tmp_path, rows)
    (photo,), left_out = look_through(open_sources([spec]), split="all")
    assert left_out.counts[code] >= 1 or left_out.counts["polygon-clipped"] >= 1
    assert photo.masks == (2 if code == "polygon-clipped" else 1)
    with pytest.raises(DataError):
        look_through(open_sources([spec], strict=True), split="all", strict=True)


def test_f16_run_lengths_of_another_size_name_id_and_both_sizes(here, tmp_path):
    folder = copied(here, tmp_path)
    path, table = table_of(folder)
    table["annotations"][0]["segmentation"]["size"] = [120, 90]
    path.write_text(json.dumps(table))
    with pytest.raises(DataError, match=r"rle-size.*id 0.*\[120, 90\].*\[90, 120\].*swapped"):
        find_photos([folder])


def test_f17_ids_with_gaps_are_taken_and_categories_kept_by_number(here, tmp_path):
    names = [{"id": 0, "name": "a/b"}, {"id": 3, "name": ""}, {"id": 90, "name": "a/b"}]
    rows = [
        {"id": i, "image_id": 7 * (i % 2), "category_id": c, "segmentation": [SQUARE]}
        for i, c in enumerate((0, 3, 90))
    ]
    sources = open_sources([coco_of(here, tmp_path, rows, names)])
    photos, _ = look_through(sources, split="all")
    assert [(p.image_id, p.masks) for p in photos] == [("0", 2), ("7", 1)]
    check_data(tmp_path / "run", photos, sources)
    kept = json.loads((tmp_path / "run" / "data.json").read_text())["categories"]
    # F18: a slash, nothing at all and a twin come back as they were
    assert kept == {"coco": [[0, "a/b", None], [3, "", None], [90, "a/b", None]]}
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["data.json"]


def test_f17_a_set_that_is_named_twice_is_an_error(here):
    with pytest.raises(DataError, match="set-twice"):
        open_sources([here / "set", here / "set"])


def test_f18_category_names_are_words_and_never_paths(here, tmp_path):
    rows = [{"id": 1, "image_id": 0, "category_id": 1, "segmentation": [SQUARE]}]
    names = [{"id": 1, "name": "../../x"}]
    sources = open_sources([coco_of(here, tmp_path, rows, names)])
    photos, _ = look_through(sources, split="all")
    check_data(tmp_path / "run", photos, sources)
    assert not (tmp_path.parent / "x").exists()


def test_f11_changed_photos_are_told_and_accepted_only_when_asked(here, tmp_path):
    folder, run = copied(here, tmp_path), tmp_path / "run"

    def look():
        sources = open_sources([folder])
        return look_through(sources)[0], sources

    assert check_data(run, *look()) == check_data(run, *look()) == []
    first, second, third = sorted(folder.glob("*.jpg"))[:3]
    data = bytearray(first.read_bytes())
    data[-30] ^= 1  # one bit of a picture; its name, size and date stay
    first.write_bytes(data)
    second.unlink()
    second.with_suffix(".json").unlink()
    shutil.copy(third, folder / "p900.jpg")
    table = json.loads(third.with_suffix(".json").read_text())
    (folder / "p900.json").write_text(json.dumps(table))
    with pytest.raises(RunError, match="data-changed") as caught:
        check_data(run, *look())
    for word in (
        f"1 changed (set/{first.stem})",
        f"1 gone (set/{second.stem})",
        "1 new (set/p900)",
    ):
        assert word in str(caught.value)
    assert "--accept-changes" in str(caught.value)
    assert len(check_data(run, *look(), accept=True)) == 3
    assert check_data(run, *look()) == []


def test_f11_a_damaged_list_is_no_new_run(here, tmp_path):
    sources = open_sources([here / "set"])
    (tmp_path / "data.json").write_text("{")
    with pytest.raises(RunError, match="manifest-broken"):
        check_data(tmp_path, look_through(sources)[0], sources)


def test_sets_are_mixed_by_weight_and_balance(tmp_path):
    write_photos(tmp_path / "large", 9)
    write_photos(tmp_path / "small", 3)
    paths = [
        DataSpec(path=str(tmp_path / "large")),
        DataSpec(path=str(tmp_path / "small"), weight=2),
    ]

    def share(balance):
        photos = find_photos(paths, balance=balance)
        sums = [sum(p.weight for p in photos if p.set == name) for name in ("large", "small")]
        return sums[1] / sum(sums)

    assert share(0) == pytest.approx(6 / 15)
    assert share(1) == pytest.approx(2 / 3)
    assert 6 / 15 < share(0.5) < 2 / 3
    with pytest.raises(DataError, match="weight-wrong"):
        open_sources([DataSpec(path=str(tmp_path / "large"), weight=0)])


def test_a_picture_that_breaks_in_the_middle_of_a_run_is_passed_over(here, tmp_path, caplog):
    folder = copied(here, tmp_path)
    photos = find_photos([folder])
    (folder / f"{photos[0].image_id}.jpg").write_bytes(b"\xff\xd8 nothing more")
    drawer = PhotoDrawer(photos)
    for step in range(5):
        batch = draw_batch(drawer, KIND, ClickMix(), np.random.default_rng(step))
        assert f"set/{photos[0].image_id}" not in batch.items
    assert len([r for r in caplog.records if "passed over" in r.getMessage()]) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_draw_what_one_would(here, threads):
    config = small_config(steps=6)
    drawer = PhotoDrawer(find_photos([here / "set"]))
    with Feed(drawer, config, [0, 1], threads) as many:
        for plan, drawn in many.steps(2):
            assert plan == plan_of(config, plan.step)
            for number, one in enumerate(drawn):
                single = Feed(drawer, config, [number]).draw(plan, number)
                assert one.batch.images.equal(single.batch.images)
                assert one.batch.points.equal(single.batch.points)
                assert one.rng.random() == single.rng.random()
    assert plan.step == 5


def disc(y, x, r, side=64):
    rows, columns = np.mgrid[:side, :side]
    return (columns - x) ** 2 + (rows - y) ** 2 <= r * r


def view_of(colour, *masks):
    pixels = np.full((64, 64, 3), 20, np.uint8)
    for mask in masks:
        pixels[mask] = colour
    return View(pixels=pixels, masks=np.stack(masks), size=(48, 64))


@given(seed=st.integers(0, 300))
def test_pasted_objects_hide_what_is_behind_them_and_stay_in_the_picture(seed):
    rng = np.random.default_rng(seed)
    view = view_of(100, disc(15, 15, 12), disc(25, 40, 8))
    other = view_of(200, disc(20, 30, 10))
    mixed = paste_objects(view, other, 4, Augment(paste_scale=(0.5, 2.0)), rng)
    if mixed is view:  # it came out too small
        return
    pasted = mixed.masks[0]
    assert pasted.any() and not pasted[48:].any()
    assert (view.pixels[~pasted] == mixed.pixels[~pasted]).all()
    assert (mixed.pixels[pasted] > 20).mean() > 0.9
    for mask in mixed.masks[1:]:
        assert not (mask & pasted).any()
        assert any((mask == (before & ~pasted)).all() for before in view.masks)


def test_an_object_that_is_hidden_is_no_target_any_more():
    small, large = disc(20, 30, 6), disc(20, 30, 20)
    view, other = view_of(100, small), view_of(200, large)
    gone = 0
    for seed in range(40):
        augment, rng = Augment(paste_scale=(1, 1)), np.random.default_rng(seed)
        mixed = paste_objects(view, other, 4, augment, rng)
        left = (small & ~(mixed.pixels == 200).all(2)).sum() / small.sum()
        gone += left < 0.4
        assert len(mixed.masks) == 1 + (left >= 0.4) and (mixed.pixels[mixed.masks[0]] > 20).all()
    assert gone


def test_without_pasting_samples_are_those_of_before(here):
    photos = find_photos([here / "set"])
    plain, off, on = (
        draw_batch(PhotoDrawer(photos, augment=a), KIND, ClickMix(), np.random.default_rng(3))
        for a in (None, Augment(paste=0), Augment(paste=1))
    )
    assert plain.images.equal(off.images) and not plain.images.equal(on.images)


def test_packed_parts_give_the_same_samples(tmp_path, monkeypatch):
    monkeypatch.setattr("anymask.train.pack._LARGEST_PART", 12_000)
    for name in ("a", "a-b"):
        write_photos(tmp_path / name, 4 if name == "a" else 3)
    data = (str(tmp_path / "a"), str(tmp_path / "a-b"))
    config = small_config(data)
    done = pack(config, tmp_path / "parts")
    files = sorted(p.name for p in (tmp_path / "parts").iterdir())
    assert done.photos == 7 and done.scaled == 0 and done.parts == len(files) > 2
    assert all(p.stat().st_size < 25_000 for p in (tmp_path / "parts").iterdir())
    before, after = find_photos(data), find_photos([tmp_path / "parts"])
    assert [(str(p), p.digest, p.weight) for p in before] == [
        (str(p), p.digest, p.weight) for p in after
    ]
    for step in range(3):
        one, two = (
            draw_batch(PhotoDrawer(photos), KIND, ClickMix(), np.random.default_rng(step))
            for photos in (before, after)
        )
        assert one.images.equal(two.images) and one.truth.equal(two.truth)
    with pytest.raises(OutputError, match="file-exists"):
        pack(config, tmp_path / "parts")


def test_large_photos_are_packed_smaller_with_their_masks(here, tmp_path):
    config = small_config(here / "set")
    done = pack(config, tmp_path, side=60)
    assert done.scaled == done.photos == 5
    small, large = open_sa1b(tmp_path / "set.part-00.tar"), open_sa1b(here / "set")
    assert small.ids == large.ids
    for image_id in small.ids:
        one, two = small.read(image_id), large.read(image_id)
        assert one.size == (45, 60) and one.pixels().shape == (45, 60, 3)
        for a, b in zip(one.annotations, two.annotations, strict=True):
            half = b.mask().reshape(45, 2, 60, 2).mean((1, 3)) > 0.5
            assert (a.mask() & half).sum() > 0.9 * half.sum()


def test_names_that_a_tar_would_change_are_refused(here, tmp_path):
    shutil.copytree(here / "set", tmp_path / "set" / "inner")
    (tmp_path / "set" / "q").mkdir()
    picture = next((here / "set").glob("*.jpg"))
    for inner in ("inner", "q"):
        shutil.copy(picture, tmp_path / "set" / inner / "x.jpg")
        shutil.copy(picture.with_suffix(".json"), tmp_path / "set" / inner / "x.json")
    pack(small_config(tmp_path / "set"), tmp_path / "fine")  # two folders inside stay
    shutil.rmtree(tmp_path / "set" / "q")
    with pytest.raises(DataError, match="pack-names"):
        pack(small_config(tmp_path / "set"), tmp_path / "parts")
