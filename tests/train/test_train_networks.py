"""Networks of all families are prompted and learn by one loop, and their rows say how."""

import numpy as np
import pytest
import torch
from small_runs import CPU, NETWORKS, SMALL_SAM, begun, go, small_config, write_photos
from test_batches import config as nano_config

from anymask.errors import DataError
from anymask.model import BUILDERS
from anymask.prompts import Prompts, network_points
from anymask.train.augment import Augment
from anymask.train.batches import PhotoDrawer, StepKind
from anymask.train.checks import check_config
from anymask.train.config import Optim
from anymask.train.decoding import Asked, decode_by_group, decode_together, grouped
from anymask.train.feed import Feed, plan_of
from anymask.train.losses import Losses, total_loss
from anymask.train.recipes import choose_trained, factor_of, recipe_of, row_of
from anymask.train.rounds import encoded, normalised, step_loss
from anymask.train.run import new_network, teaching_of
from anymask.train.samples import find_photos
from anymask.train.team import Alone
from anymask.variants import variant


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks") / "set"
    write_photos(folder)
    return find_photos([folder])


def drawer_for(config, photos):
    return PhotoDrawer(photos, fit=row_of(config).spec.fit, augment=config.augment)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("sam", 150), ("sam2", 120), ("efficient", 40)])
def test_a_network_of_any_family_learns_a_batch_by_heart(photos, tmp_path, name, steps):
    config = small_config(**NETWORKS[name], optim=Optim(lr=1e-3, warmup=1))
    run, teaching = begun(config, tmp_path / "no"), teaching_of(config, Alone(CPU))
    feed, plan = Feed(drawer_for(config, photos), config, [0]), plan_of(config, 0)
    losses = []
    for _ in range(steps):
        one = feed.draw(plan, 0)
        loss, facts = step_loss(run.network, one.batch, 1, teaching, one.rng)
        run.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(run.trained.values()), 1.0)
        run.optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0] and facts["last"] > 0.7


@pytest.mark.parametrize("name", ["sam", "sam2"])
def test_every_parameter_that_learns_moves_and_others_stay(photos, tmp_path, name):
    config = small_config(**NETWORKS[name], steps=2, rounds=(0.0, 1.0))
    run = begun(config, tmp_path / "no")
    before = {n: p.detach().clone() for n, p in run.network.named_parameters()}
    list(go(run, drawer_for(config, photos), tmp_path / "state"))
    moved = {n for n, p in run.network.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(run.trained)
    assert not any(n.startswith(("memory.", "decoder.object_")) for n in moved)


def asked_of(rng, prompts=5):
    """Ragged prompts on two images: clicks, boxes, and boxes with clicks."""
    points = rng.uniform(4, 60, (2, prompts, 6, 2)).astype(np.float32)
    labels = np.full((2, prompts, 6), -1)
    for b in range(2):
        for p in range(prompts):
            clicks = int(rng.integers(0, 3))
            labels[b, p, :clicks] = rng.integers(0, 2, clicks)
            if clicks == 0 or rng.random() < 0.4:
                points[b, p, clicks + 1] = points[b, p, clicks] + 3
                labels[b, p, clicks : clicks + 2] = 2, 3
    return points, labels


@pytest.mark.parametrize("name", NETWORKS)
def test_prompts_of_a_batch_are_answered_as_single_prompts_are_at_inference(name):
    config = small_config(**NETWORKS[name])
    spec, network = row_of(config).spec, new_network(config).eval()
    points, labels = asked_of(np.random.default_rng(0))
    previous = torch.randn(2, 5, 16, 16) if spec.mask_prompts else None
    with torch.no_grad():
        features = network.encode(torch.randn(2, 3, 64, 64))
        asked = Asked(torch.from_numpy(points), torch.from_numpy(labels), previous)
        logits, scores = decode_by_group(network, features, asked, spec)
        for b in range(2):
            for p in range(5):
                prompt = single_prompt(points[b, p], labels[b, p])
                frame = frame_of(64)
                xy, kinds = network_points(prompt, frame, spec)
                masks = None if previous is None else previous[b, p][None, None]
                own = tuple(f[b : b + 1] for f in features)
                found, known = network.decode(
                    own, torch.from_numpy(xy), torch.from_numpy(kinds), masks
                )
                torch.testing.assert_close(logits[b, p], found[0], atol=2e-4, rtol=1e-4)
                torch.testing.assert_close(scores[b, p], known[0], atol=2e-4, rtol=1e-4)


def frame_of(side):
    from anymask.frame import Frame

    return Frame(image=(side, side), resized=(side, side), padded=(side, side), mask_stride=4)


def single_prompt(points, labels):
    clicks = (labels == 0) | (labels == 1)
    box = points[(labels == 2) | (labels == 3)].reshape(1, 4) if (labels == 2).any() else None
    return Prompts(points=(points[clicks] - 0.5,), labels=(labels[clicks],), boxes=box)


def test_nano_answers_all_images_at_once_as_it_does_one_by_one():
    spec, network = variant("nano").spec, BUILDERS["nano"]().eval()
    points, labels = asked_of(np.random.default_rng(1))
    asked = Asked(torch.from_numpy(points), torch.from_numpy(labels), torch.randn(2, 5, 16, 16))
    with torch.no_grad():
        features = network.encode(torch.randn(2, 3, 64, 64))
        together = decode_together(network, features, asked, spec)
        single = decode_by_group(network, features, asked, spec)
    for a, b in zip(together, single, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_points_get_each_rows_own_shifts():
    points = np.array([[[10.5, 20.5], [30, 40], [50, 60]]], np.float32)
    labels = np.array([[1, 2, 3]])
    for name, click, corner in (("nano", 10.5, 30), ("sam-vit-b", 10.5, 30.5)):
        (group,) = grouped(points, labels, variant(name).spec)
        x = dict(zip(group.labels[0].tolist(), group.points[0, :, 0].tolist(), strict=True))
        assert x[1] == click and x[2] == corner


def test_padding_is_nothing_after_normalisation_whatever_the_rows_mean():
    images = torch.full((1, 8, 8, 3), 127, dtype=torch.uint8)
    x = normalised(images, ((5, 8),), variant("sam-vit-b").spec)
    assert (x[:, :, 5:] == 0).all() and (x[:, :, :5] != 0).all()


def test_bfloat16_is_for_the_encoder_and_changes_little(photos, tmp_path):
    config = small_config(precision="bfloat16")
    run = begun(config, tmp_path / "no")
    feed, plan = Feed(drawer_for(config, photos), config, [0]), plan_of(config, 0)
    drawn = feed.draw(plan, 0)
    half, full = (
        encoded(run.network, drawn.batch, teaching_of(c, Alone(CPU)))[0]
        for c in (config, small_config())
    )
    assert half.dtype == full.dtype == torch.float32
    assert not torch.equal(half, full)
    assert (half - full).abs().mean() < 0.03 * full.abs().mean()
    losses = [f["loss"] for f in go(run, drawer_for(config, photos), tmp_path / "state")]
    assert len(losses) == 4 and np.isfinite(losses).all()


@pytest.mark.parametrize("name", ["nano", *NETWORKS])
def test_what_a_step_computes_is_on_the_networks_device(photos, name):
    """Tensors without values refuse to be mixed with those of the CPU, as those of a GPU do."""
    part = StepKind(views=2, prompts=2, side=64, window=32)
    config = nano_config(kinds=(part,), shares=()) if name == "nano" else None
    config = config or small_config(**NETWORKS[name])
    teaching = teaching_of(config, Alone(CPU))
    network = new_network(config).to("meta")
    batch = Feed(drawer_for(config, photos), config, [0]).draw(plan_of(config, 0), 0).batch
    features = encoded(network, batch, teaching)
    truth = batch.truth.to("meta")
    for previous in (None, truth if teaching.row.spec.mask_prompts else None):
        asked = Asked(batch.points, batch.labels, previous)
        logits, scores = teaching.recipe.decode(network, features, asked, teaching.row.spec)
        flat, known, single = logits.flatten(0, 1), scores.flatten(0, 1), truth[..., 0, 0].flatten()
        loss, iou = total_loss(flat, known, truth.flatten(0, 1), single, teaching.losses)
        assert loss.device == iou.device == torch.device("meta")


def test_a_precision_that_there_is_not_is_named():
    with pytest.raises(DataError, match="float32 or bfloat16"):
        teaching_of(small_config(precision="float8"), Alone(CPU))


def test_the_last_pattern_that_fits_decides_how_fast_a_parameter_learns():
    factors = {"*": 1.0, "encoder.*": 0.0, "encoder.blocks.1.*": 0.25}
    assert factor_of("decoder.up1.bias", factors) == 1
    assert factor_of("encoder.blocks.0.norm1.bias", factors) == 0
    assert factor_of("encoder.blocks.1.norm1.bias", factors) == 0.25
    network = new_network(small_config())
    groups = choose_trained(network, factors, named=True)
    assert [g["factor"] for g in groups] == [1, 0.25]
    assert not network.encoder.pos_embed.requires_grad
    with pytest.raises(DataError, match=r"no parameter has such a name.*decodr"):
        choose_trained(network, {"*": 1.0, "decodr.*": 0.0}, named=True)
    with pytest.raises(DataError, match="nothing would learn"):
        choose_trained(network, {"*": 0.0}, named=True)


def test_nanos_own_choice_keeps_the_detector_and_slows_the_deep_half_of_the_classifier():
    network = BUILDERS["nano"]()
    choose_trained(network, recipe_of(nano_config()).learn)
    learns = {n: p.requires_grad for n, p in network.named_parameters()}
    assert not any(on for n, on in learns.items() if n.startswith("encoder.detector"))
    blocks = {int(n.split(".")[3]): on for n, on in learns.items() if ".lite.blocks." in n}
    assert blocks == {i: i >= 5 for i in range(16)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kinds": (StepKind(views=1, prompts=1, side=96),)}, "learns on views of 64 px"),
        ({"kinds": (StepKind(views=1, prompts=1, side=64, window=32),)}, "windows cannot be cut"),
        ({"size": 72}, "a multiple of 64 px"),
        ({"losses": "same"}, "there are losses nano, sam"),
        ({"shares": (0.5, 0.5)}, r"a share for each kind is wanted"),
        ({"rounds": ()}, "a list of shares is wanted"),
        ({"steps": 0}, r"steps: a number above 0"),
        ({"kinds": ()}, "at least one kind"),
        ({"optim": Optim(betas=(0.9,))}, "a pair below 1"),
        ({"augment": Augment(paste_scale=(2.0, 1.0))}, "a smallest and a largest"),
        ({"losses": Losses(clear=(1.0,))}, r"losses\.clear: a pair"),
    ],
)
def test_a_config_that_fits_no_network_is_refused_before_anything_is_read(changes, says):
    config = small_config(**{**SMALL_SAM, **changes})
    with pytest.raises(DataError, match=says):
        check_config(config)
