"""A model's own confident masks as more to learn from."""

import json

import pytest
from small_runs import small_config, write_photos

from anymask import load
from anymask.cli import main
from anymask.errors import DataError, OutputError
from anymask.evaluate.rounds import iou
from anymask.formats.sa1b import open_sa1b
from anymask.train.config import to_toml
from anymask.train.own_masks import Confident, ConfidentMasks, make_own_masks
from anymask.train.samples import find_photos, usable

FEW = Confident(points_per_side=8)


@pytest.fixture(scope="module")
def nano():
    return load("nano", device="cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four photos of two blocks each."""
    folder = tmp_path_factory.mktemp("whole")
    write_photos(folder / "set", 4)
    return folder / "set"


@pytest.fixture
def half(whole, tmp_path):
    """The same; people drew the first block alone."""
    write_photos(tmp_path / "set", 4)
    for path in (tmp_path / "set").glob("*.json"):
        table = json.loads(path.read_text())
        del table["annotations"][1:]
        path.write_text(json.dumps(table))
    return tmp_path / "set"


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_what_people_left_out_is_found_and_what_they_drew_is_not_drawn_again(nano, whole, half):
    finder = ConfidentMasks(nano, FEW)
    found = 0
    for record in open_sa1b(half):
        own = finder.of(record)
        drawn, left_out = (a.mask() for a in usable(open_sa1b(whole).read(record.image_id)))
        masks = [a.mask() for a in own]
        assert all(iou(mask, drawn) <= 0.55 for mask in masks)  # the majority may move a border
        found += any(iou(mask, left_out) > 0.8 for mask in masks)
        assert all(a.predicted_iou >= FEW.score and a.stability_score >= FEW.stability for a in own)
        assert [a.area for a in own] == [a.mask().sum() for a in own]
    assert found >= 3


def test_a_bar_that_nothing_reaches_leaves_nothing(nano, half):
    (record, *_) = open_sa1b(half)
    for bar in (Confident(agree=1.01), Confident(score=2.0), Confident(most=0)):
        assert ConfidentMasks(nano, bar).of(record) == ()


def test_a_slice_goes_on_where_the_last_one_ended(nano, half, tmp_path):
    config = small_config(half)
    asked = iter([0, 0, 15])
    first = make_own_masks(config, tmp_path / "own", nano, bar=FEW, stop=lambda: next(asked))
    assert (first.photos, first.of) == (2, 4)
    before = files(tmp_path / "own")
    picture = next(name for name in before if name.endswith(".jpg"))
    (tmp_path / "own" / picture.replace(".jpg", ".json")).unlink()  # killed between the two files
    last = make_own_masks(config, tmp_path / "own", nano, bar=FEW)
    assert last.photos == 4 and before.items() <= files(tmp_path / "own").items()
    again = make_own_masks(config, tmp_path / "own", nano, bar=FEW)
    assert (again.photos, again.masks) == (4, 0)
    made = open_sa1b(tmp_path / "own")
    assert made.ids == open_sa1b(half).ids
    for record in made:
        assert record.pixels().shape == (90, 120, 3)
        assert record.image_bytes() == open_sa1b(half).read(record.image_id).image_bytes()
    both = find_photos([half, tmp_path / "own"])
    assert {photo.set for photo in both} == {"set", "own"}


def test_validation_photos_stay_out(nano, half, tmp_path):
    write_photos(half, 2, split="val")
    made = make_own_masks(small_config(half), tmp_path / "own", nano, bar=FEW)
    assert made.photos == 4 and len(open_sa1b(tmp_path / "own").ids) == 4


def test_a_broken_picture_is_passed_over(nano, half, tmp_path, caplog):
    picture = min(half.glob("*.jpg"))
    picture.write_bytes(picture.read_bytes()[:300])
    made = make_own_masks(small_config(half), tmp_path / "own", nano, bar=FEW)
    assert made.photos == 3 and made.of == 4
    assert picture.stem in caplog.text and "passed over" in caplog.text


def test_another_picture_of_the_same_name_is_not_overwritten(nano, half, tmp_path):
    name = min(half.glob("*.jpg")).name
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / name).write_bytes(b"mine")
    with pytest.raises(OutputError, match="file-exists"):
        make_own_masks(small_config(half), tmp_path / "own", nano, bar=FEW)
    assert (tmp_path / "own" / name).read_bytes() == b"mine"


def test_one_name_in_two_sets_is_refused(nano, whole, tmp_path):
    write_photos(tmp_path / "other", 2)
    config = small_config((str(whole), str(tmp_path / "other")))
    with pytest.raises(DataError, match="own-names"):
        make_own_masks(config, tmp_path / "own", nano)
    assert not (tmp_path / "own").exists()


def test_the_command_writes_a_set_that_a_run_takes(half, tmp_path, capsys):
    config = small_config(half, tmp_path / "run", model="nano", network={}, size=None)
    (tmp_path / "run.toml").write_text(to_toml(config))
    own = tmp_path / "own"
    assert main(["train", str(tmp_path / "run.toml"), "--own-masks", str(own)]) == 0
    assert "4 of 4 photos" in capsys.readouterr().err
    data = json.dumps([str(half)])[:-1] + f', {{path = "{own}", weight = 0.3}}]'
    change = ["--set", f"data={data}", "--set", "steps=1", "--set", "rounds=[1.0]"]
    assert main(["train", str(tmp_path / "run.toml"), *change]) == 0
