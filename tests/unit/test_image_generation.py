"""What image_generation computes: the game's gradients, shifts, distances, grids."""

import numpy as np
import pytest
import torch

from modelmill.corpus.in_memory import AllRows
from modelmill.models import layers
from modelmill.tasks.image_generation import evaluate, features, generating, layouts, networks
from modelmill.tasks.image_generation.preprocess import learned


def players(channels: int = 1, size: int = 12) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    made = layouts.generator(4, channels, size, 8), layouts.discriminator(channels, size, 8)
    return layers.sequence(made[0]), layers.sequence(made[1])


def test_each_player_follows_its_own_loss() -> None:
    generator, judge = players()
    real, noise = torch.rand(6, 1, 12, 12) * 2 - 1, torch.randn(6, 4)
    networks.game(judge, real, generator(noise), 0.0, 0.0).backward()
    found = [[p.grad.clone() for p in player.parameters()] for player in (generator, judge)]
    fake, on_real = generator(noise), judge(real)
    softplus = torch.nn.functional.softplus
    of_generator = torch.autograd.grad(softplus(on_real.detach() - judge(fake)).sum(), [*generator.parameters()])
    of_judge = torch.autograd.grad(softplus(judge(fake.detach()) - on_real).sum(), [*judge.parameters()])
    for one, other in zip(found, (of_generator, of_judge), strict=True):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))


def test_the_penalty_is_the_squared_gradient_at_real_and_generated_images() -> None:
    judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1))
    real, fake = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    without, with_it = (networks.game(judge, real, fake, penalty, 0.0).item() for penalty in (0.0, 2.0))
    square = (judge[1].weight ** 2).sum().item()
    assert with_it - without == pytest.approx(2.0 / 2 * (3 + 3) * square, rel=1e-4)


def test_a_shift_moves_whole_pixels_and_lets_gradients_through() -> None:
    images = torch.zeros(40, 1, 10, 10)
    images[:, :, 5, 5] = 1
    images.requires_grad_()
    torch.manual_seed(0)
    found = networks.shifted(images, 0.2)
    places = found.flatten(1).argmax(dim=1)
    rows, columns = places // 10 - 5, places % 10 - 5
    assert set(rows.tolist()) == set(columns.tolist()) == {-2, -1, 0, 1, 2}
    found.amax(dim=(1, 2, 3)).sum().backward()
    assert images.grad is not None and torch.equal(images.grad[:, 0, 5, 5], torch.ones(40))


def test_a_generated_image_depends_on_its_own_noise_alone() -> None:
    generator, _ = players(3, 16)
    noise = torch.randn(5, 4)
    made = generator(noise)
    assert made.shape == (5, 3, 16, 16) and torch.allclose(generator(noise[2:3])[0], made[2], atol=1e-6)
    assert not list(generator.buffers())


def test_the_frechet_distance_is_that_of_gaussians() -> None:
    draws = np.random.default_rng(0)
    one = draws.normal(0, 1, (200_000, 2))
    other = draws.normal(0, 1, (200_000, 2)) * [3, 1] + [0, 2]
    assert features.frechet(one, one) == pytest.approx(0, abs=1e-9)
    assert features.frechet(one, other) == pytest.approx((3 - 1) ** 2 + 2**2, rel=0.02)


def test_sliced_wasserstein_knows_equal_sets_whatever_their_order() -> None:
    real = torch.rand(8, 1, 5, 5)
    assert networks.sliced_wasserstein(real, real.flip(0)).item() == pytest.approx(0, abs=1e-9)
    assert networks.sliced_wasserstein(real, real + 1) > networks.sliced_wasserstein(real, real + 0.1) > 0


def test_the_nearest_image_is_found_and_a_gaussian_has_the_mean() -> None:
    images = np.array([0, 100, 200], np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 1, 2, 2), np.uint8)
    real = np.full((1, 1, 2, 2), 151, np.uint8)
    assert evaluate.nearest_distances(real, images) == pytest.approx([49 / 255])
    made = evaluate.gaussian(images, 5000, np.random.default_rng(0))
    assert made.shape == (5000, 1, 2, 2) and abs(made.mean() - 100) < 4 and 60 < made.astype(float).std() < 82


def test_fine_tuning_sees_the_first_images_by_hash_and_held_out_ones() -> None:
    rows = AllRows({}, np.array(["train", "train", "test", "train"]), np.array([3, 1, 0, 2], np.uint64), [])
    target = np.array([True, True, True, False])
    assert learned(target, rows, 1).tolist() == [False, True, True, False]
    assert learned(target, rows, None).tolist() == target.tolist()


def test_images_are_laid_out_in_a_grid() -> None:
    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 1, 2, 2), np.uint8)
    tiled = generating.grid(images)
    assert tiled[:, :, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, 0]]
