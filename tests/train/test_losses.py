"""Losses with answers known beforehand."""

import pytest
import torch

from anymask.train.losses import mask_losses, soft_iou, total_loss

TRUTH = torch.zeros(1, 8, 8)
TRUTH[0, 2:6, 2:6] = 1
RIGHT = (TRUTH * 40 - 20)[:, None]


def test_a_right_answer_costs_nothing_and_a_wrong_one_much():
    assert mask_losses(RIGHT, TRUTH).item() == pytest.approx(0, abs=1e-4)
    assert mask_losses(-RIGHT, TRUTH).item() > 1


def test_iou_counts_cells():
    half = RIGHT.clone()
    half[0, 0, 2:4] = -20
    assert soft_iou(RIGHT, TRUTH).item() == 1
    assert soft_iou(half, TRUTH).item() == 0.5
    assert soft_iou(-torch.ones(1, 1, 8, 8), TRUTH).item() == 0


def test_an_empty_truth_has_a_finite_loss_and_gradient():
    logits = torch.zeros(1, 4, 8, 8, requires_grad=True)
    scores = torch.full((1, 4), 0.5, requires_grad=True)
    loss, iou = total_loss(logits, scores, torch.zeros(1, 8, 8), torch.ones(1))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    assert (iou == 0).all()


def test_for_a_single_click_the_best_alternative_counts_and_output_0_for_the_rest():
    scores = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    alternative = torch.cat([-RIGHT, RIGHT, -RIGHT, -RIGHT], dim=1)
    first = torch.cat([RIGHT, -RIGHT, -RIGHT, -RIGHT], dim=1)
    clear, ambiguous = torch.zeros(1), torch.ones(1)
    assert (
        total_loss(alternative, scores, TRUTH, ambiguous)[0]
        < (total_loss(first, scores, TRUTH, ambiguous)[0])
    )
    assert (
        total_loss(first, scores, TRUTH, clear)[0]
        < (total_loss(alternative, scores, TRUTH, clear)[0])
    )
