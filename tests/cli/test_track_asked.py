"""What `anymask track` is pointed at, from the options as they were typed."""

import numpy as np
import pytest
import typer
from PIL import Image

from anymask.cli.track_asked import Typed, parse_objects, read_masks
from anymask.errors import ImageError, PromptError


def typed(text: str) -> list[Typed]:
    """``point=0:1,2 object=dog`` as options in that order."""
    parts = [word.partition("=") for word in text.split()]
    return [Typed(kind=kind.replace("object", "object_"), value=value) for kind, _, value in parts]


def told(text: str) -> dict[str, list]:
    """Names and what points at them, by frame."""
    return {
        one.name: [(p.frame, p.points, p.labels, p.box) for p in one.prompts]
        for one in parse_objects(typed(text))
    }


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("point=0:10,20", {"1": [(0, ((10, 20),), (1,), None)]}),
        ("point=10,20", {"1": [(None, ((10, 20),), (1,), None)]}),
        (
            "point=5:10,20 negative=5:30,40 point=9:1,2",
            {"1": [(5, ((10, 20), (30, 40)), (1, 0), None), (9, ((1, 2),), (1,), None)]},
        ),
        (
            "box=0:1,2,30,40 negative=0:5,6",
            {"1": [(0, ((5, 6),), (0,), (1, 2, 30, 40))]},
        ),
        (
            "box=0:1,2,30,40 box=3:5,6,70,80",
            {"1": [(0, (), (), (1, 2, 30, 40))], "2": [(3, (), (), (5, 6, 70, 80))]},
        ),
        (
            "point=0:1,1 object=dog point=0:9,9 negative=0:5,5 object=cat",
            {"dog": [(0, ((1, 1),), (1,), None)], "cat": [(0, ((9, 9), (5, 5)), (1, 0), None)]},
        ),
        (
            "object=dog point=0:1,1 object=cat box=2:1,2,30,40 point=2:9,9",
            {
                "dog": [(0, ((1, 1),), (1,), None)],
                "cat": [(2, ((9, 9),), (1,), (1, 2, 30, 40))],
            },
        ),
        (
            "point=0:1,1 object=dog box=0:1,2,30,40 object=cat point=8:3,3 object=dog",
            {
                "dog": [(0, ((1, 1),), (1,), None), (8, ((3, 3),), (1,), None)],
                "cat": [(0, (), (), (1, 2, 30, 40))],
            },
        ),
    ],
    ids=[
        "a point",
        "a point on the first frame",
        "points on two frames",
        "a box with a point",
        "two boxes",
        "names behind",
        "names in front",
        "a correction",
    ],
)
def test_options_become_objects(text, objects):
    assert told(text) == objects


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing was pointed at"),
        ("object=dog", "nothing was pointed at"),
        ("point=0:1", "FRAME:X,Y, such as 0:500,375"),
        ("point=a:1,2", "FRAME:X,Y, such as 0:500,375"),
        ("point=-1:1,2", "FRAME:X,Y, such as 0:500,375"),
        ("box=0:1,2,3", "FRAME:X0,Y0,X1,Y1, such as 0:"),
        ("point=0:1,2 object=dog point=0:3,4", "each name needs options"),
        ("object=dog point=0:1,2 object=cat", "each name needs options"),
        ("object=a object=b point=0:1,2", "two names follow each other"),
        ("point=0:1,2 object=", "a name is empty"),
    ],
)
def test_l01_options_of_another_form_are_refused(text, says):
    with pytest.raises(typer.BadParameter) as caught:
        parse_objects(typed(text))
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("box=0:1,2,30,40 box=0:5,6,70,80 point=0:1,2", "object-counts"),
        ("box=0:1,2,30,40 box=0:5,6,70,80 object=dog", "box-counts"),
    ],
)
def test_prompts_that_are_nobodys_are_refused(text, code):
    with pytest.raises(PromptError) as caught:
        parse_objects(typed(text))
    assert caught.value.code == code


def test_more_objects_than_a_label_map_can_number_are_refused():
    boxes = " ".join(f"box=0:{i},0,{i + 9},9" for i in range(255))
    with pytest.raises(PromptError) as caught:
        parse_objects(typed(boxes))
    assert caught.value.code == "objects-many"


@pytest.fixture
def label_map(tmp_path):
    labels = np.zeros((6, 8), np.uint8)
    labels[:2], labels[4:], labels[3] = 3, 7, 255
    picture = Image.fromarray(labels)
    picture.putpalette(list(range(256)) * 3)
    path = tmp_path / "first.png"
    picture.save(path)
    return path


def test_a_label_map_has_an_object_for_each_value(label_map):
    three, seven = parse_objects(typed(f"mask=4:{label_map}"))
    assert (three.name, seven.name) == ("3", "7")
    assert three.prompts[0].frame == 4
    assert three.prompts[0].mask.sum() == seven.prompts[0].mask.sum() == 16
    assert three.prompts[0].mask_file == str(label_map)


def test_a_map_of_several_objects_has_no_single_name(label_map):
    with pytest.raises(PromptError) as caught:
        parse_objects(typed(f"mask={label_map} object=dog"))
    assert caught.value.code == "mask-objects"


def test_a_black_and_white_mask_is_one_object_and_may_have_points(tmp_path):
    path = tmp_path / "mask.png"
    Image.fromarray(np.eye(9, dtype=np.uint8) * 255).save(path)
    (one,) = parse_objects(typed(f"mask={path} negative=1,5"))
    (prompt,) = one.prompts
    assert prompt.frame is None and prompt.points == ((1, 5),)
    assert prompt.mask.dtype == bool and prompt.mask.sum() == 9
    assert [list(part) for part in prompt.parts] == [["masks"], ["points", "labels", "boxes"]]
    assert set(prompt.settings) == {"frame", "points", "labels", "box", "mask"}


def test_a_missing_mask_is_named(tmp_path):
    with pytest.raises(ImageError) as caught:
        read_masks(tmp_path / "gone.png")
    assert caught.value.code == "image-missing"


def test_an_empty_label_map_is_refused(tmp_path):
    picture = Image.fromarray(np.zeros((4, 4), np.uint8))
    picture.putpalette([0, 0, 0])
    picture.save(tmp_path / "none.png")
    with pytest.raises(PromptError) as caught:
        read_masks(tmp_path / "none.png")
    assert caught.value.code == "mask-file"


@pytest.mark.parametrize(
    ("text", "code"),
    [("point=0:100,5", "point-outside"), ("box=0:5,5,5,9", "box-order"), ("mask={}", "mask-size")],
)
def test_prompts_are_checked_before_any_model_is_there(label_map, text, code):
    objects = parse_objects(typed(text.format(label_map)))
    with pytest.raises(PromptError) as caught:
        objects[0].prompts[0].check((20, 40))
    assert caught.value.code == code
