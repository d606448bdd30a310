"""What a model's weights were not made for is refused, by values of its row."""

from dataclasses import replace

import numpy as np
import pytest

from anymask.errors import PromptError
from anymask.frame import Frame
from anymask.prompts import Prompts, check_fits, network_points
from anymask.variant_specs import six_points
from anymask.variants import InputSpec, stretch

SIZE = (40, 60)
SPEC = InputSpec(
    side=64,
    multiple=16,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    fit=stretch,
    padding=six_points,
    most_points=6,
    mask_prompts=False,
)
FRAME = Frame.fit(SIZE, SPEC)


def asked(**given: object) -> Prompts:
    return Prompts.parse(size=SIZE, frame=FRAME, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("clicks", range(7))
@pytest.mark.parametrize("boxed", [False, True], ids=["clicks", "clicks and a box"])
def test_a_prompt_is_filled_up_to_the_points_that_the_weights_expect(clicks, boxed):
    if clicks + 2 * boxed > 6 or not (clicks or boxed):
        return
    points = [[10 + i, 20] for i in range(clicks)] or None
    prompts = asked(points=points, boxes=[5, 5, 50, 30] if boxed else None)
    xy, labels = network_points(prompts, FRAME, SPEC)
    assert xy.shape == (1, 6, 2)
    assert (labels == 1).sum() == clicks and (labels >= 2).sum() == 2 * boxed


@pytest.mark.parametrize(("clicks", "boxed"), [(7, False), (5, True)])
def test_more_points_than_the_weights_know_are_an_error(clicks, boxed):
    points = [[10 + i, 20] for i in range(clicks)]
    prompts = asked(points=points, boxes=[5, 5, 50, 30] if boxed else None)
    for check in (lambda: check_fits(prompts, SPEC), lambda: network_points(prompts, FRAME, SPEC)):
        with pytest.raises(PromptError, match=r"too-many-points.*takes 6 points.*: 7;"):
            check()
    check_fits(prompts, replace(SPEC, most_points=None))


def test_the_prompt_with_too_many_points_is_named():
    prompts = asked(points=[[[10, 20]], [[10 + i, 20] for i in range(8)]])
    with pytest.raises(PromptError) as caught:
        check_fits(prompts, SPEC)
    assert caught.value.where == "points[1]" and caught.value.given == 8


def test_masks_are_refused_where_a_model_takes_none():
    prompts = asked(masks=np.ones((16, 16), bool))
    with pytest.raises(PromptError, match=r"mask-unsupported.*nano"):
        check_fits(prompts, SPEC)
    check_fits(prompts, replace(SPEC, mask_prompts=True))
