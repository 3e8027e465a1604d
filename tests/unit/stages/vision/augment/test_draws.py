"""Draws and mixing: functions of seed, epoch and example, whatever batch they are in."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stages.vision.augment.config import AugmentConfig, CropConfig, PolicyConfig
from stages.vision.augment.draws import uniforms
from stages.vision.augment.mixing import Mix, draw_mix, mix
from stages.vision.images.crops import central_box, random_box, shifted


def test_draws_are_those_of_the_example_in_any_batch() -> None:
    epoch, sample = np.repeat(np.arange(3), 50), np.tile(np.arange(50), 3)
    whole = uniforms(7, "crop", epoch, sample, 6)
    order = np.random.default_rng(0).permutation(150)
    np.testing.assert_array_equal(uniforms(7, "crop", epoch[order], sample[order], 6), whole[order])
    assert len(np.unique(whole)) == whole.size
    for other in (uniforms(8, "crop", epoch, sample, 6), uniforms(7, "flip", epoch, sample, 6)):
        assert not np.isin(other, whole).any()


def test_draws_are_uniform_and_unrelated() -> None:
    found = uniforms(1, "x", np.zeros(20_000, np.int64), np.arange(20_000), 8)
    assert found.min() >= 0
    assert found.max() < 1
    np.testing.assert_allclose(found.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(found.var(0), 1 / 12, atol=0.003)
    correlation = np.corrcoef(np.hstack([found, np.roll(found, 1, axis=0)]).T) - np.eye(16)
    assert np.abs(correlation).max() < 0.03


def test_mixup_is_the_blend_with_the_mirrored_partner() -> None:
    images = torch.randn(4, 3, 6, 6)
    how = Mix(torch.tensor([1.0, 0.75, 0.5, 1.0]), torch.zeros(4, 4))
    mixed, share = mix(images, how)
    torch.testing.assert_close(mixed[1], 0.75 * images[1] + 0.25 * images[2])
    torch.testing.assert_close(mixed[0], images[0])
    torch.testing.assert_close(share, how.share)


def test_cutmix_pastes_the_partners_box_and_counts_its_pixels() -> None:
    images = torch.stack([torch.zeros(3, 10, 10), torch.ones(3, 10, 10)])
    how = Mix(torch.ones(2), torch.tensor([[0.0, 0.2, 0.5, 0.6], [0, 0, 0, 0]]))
    mixed, share = mix(images, how)
    assert mixed[0].sum() == 3 * 5 * 4
    assert (mixed[0, :, :5, 2:6] == 1).all()
    torch.testing.assert_close(share, torch.tensor([0.8, 1.0]))


def test_mix_is_drawn_for_each_example_alone() -> None:
    config = AugmentConfig(mixup_alpha=0.2, cutmix_alpha=1.0)
    epoch, sample = np.zeros(300, np.int64), np.arange(300)
    whole = draw_mix(config, 3, epoch, sample)
    part = draw_mix(config, 3, epoch[40:50], sample[40:50])
    torch.testing.assert_close(part.share, whole.share[40:50], rtol=0, atol=0)
    torch.testing.assert_close(part.boxes, whole.boxes[40:50], rtol=0, atol=0)
    cut = (whole.boxes[:, 2:] > whole.boxes[:, :2]).all(1)
    assert 100 < int(cut.sum()) < 200
    assert (whole.share[cut] == 1).all()
    assert (whole.share >= 0.5).all()


def test_shift_shows_the_reflected_border() -> None:
    images = torch.arange(2 * 3 * 5 * 5, dtype=torch.uint8).view(2, 3, 5, 5)
    draws = np.array([[0.0, 0.99], [0.5, 0.5]])
    for mode in ("reflect", "constant"):
        found = shifted(images, draws, 2, mode)
        padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2), mode=mode)
        torch.testing.assert_close(found[0].float(), padded[0, :, 0:5, 4:9])
        torch.testing.assert_close(found[1], images[1])


def test_central_box_is_the_square_of_the_shorter_side() -> None:
    assert central_box(100, 60, 0.5) == (35, 15, 30, 30)
    assert central_box(7, 9, 1.0) == (0, 1, 7, 7)


def test_box_that_never_fits_becomes_the_central_one() -> None:
    config = CropConfig(area=(1.0, 1.0))
    assert random_box(np.full(40, 0.5), 10, 100, config) == (0, 43, 10, 13)
    assert random_box(np.full(40, 0.5), 100, 10, config) == (43, 0, 13, 10)


def test_option_of_another_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="go with kind: randaugment"):
        PolicyConfig(kind="randaugment_uda", magnitude=5)
    with pytest.raises(ValidationError, match="area and aspect"):
        CropConfig(area=(0.9, 0.1))
