"""RGAL's pieces: the density of distances, the draws, the direction of both phases, degenerate batches."""

import pytest
import torch
from torch.nn.functional import normalize

from dfq.training.relational_losses import (
    DISTANCE_WEIGHTED,
    FOCAL_WEIGHTED,
    UNIFORM,
    NegativeSampling,
    draw_triplets,
    log_inverse_density,
    pairwise_distances,
    triplet_loss,
)


def clustered(count: int = 256, classes: int = 10, dimension: int = 64, spread: float = 1.0, seed: int = 0):
    """(features, labels): classes as clouds around random directions, positive like those behind a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(classes, dimension, generator=generator)
    labels = torch.arange(count) % classes
    noise = torch.rand(count, dimension, generator=generator)
    return centres[labels] + spread * noise, labels


@pytest.mark.parametrize("dimension", [4, 8, 16])
def test_the_density_is_that_of_uniform_points_on_the_sphere(dimension):
    generator = torch.Generator().manual_seed(0)
    points = normalize(torch.randn(2, 400_000, dimension, generator=generator), dim=2)
    distances = (points[0] - points[1]).norm(dim=1)
    counts = torch.histc(distances, bins=20, min=0.5, max=1.9)
    centres = 0.5 + 0.07 * (torch.arange(20) + 0.5)
    density = (-log_inverse_density(centres, dimension)).exp()
    ratio = (counts / counts.sum()) / (density / density.sum())
    seen = counts > 2000
    assert seen.sum() >= 8
    torch.testing.assert_close(ratio[seen], torch.ones(int(seen.sum())), atol=0.1, rtol=0)


@pytest.mark.parametrize(("sampling", "low", "high"), [(FOCAL_WEIGHTED, 0.5, 1.0), (DISTANCE_WEIGHTED, 0.0, 1.4)])
def test_drawn_distances_stay_in_range(sampling, low, high):
    drawn, eligible_anchors = [], 0
    for seed in range(20):
        features, labels = clustered(dimension=512, seed=seed)
        triplets = draw_triplets(features, labels, sampling, torch.Generator().manual_seed(seed))
        distances = pairwise_distances(features)
        different = labels[:, None] != labels[None, :]
        eligible = (different & (distances > low) & (distances < high)).any(1)
        eligible_anchors += int(eligible.sum())
        kept = eligible[triplets.anchors]
        drawn.append(distances[triplets.anchors, triplets.negatives][kept])
    drawn = torch.cat(drawn)
    assert eligible_anchors > 1000 and len(drawn) > 100_000
    assert drawn.min() > low and drawn.max() < high


def test_labels_of_triplets():
    features, labels = clustered()
    triplets = draw_triplets(features, labels, FOCAL_WEIGHTED)
    assert len(triplets) == sum(n * (n - 1) for n in torch.bincount(labels).tolist())
    assert (labels[triplets.anchors] == labels[triplets.positives]).all()
    assert (triplets.anchors != triplets.positives).all()
    assert (labels[triplets.anchors] != labels[triplets.negatives]).all()


def test_no_eligible_negative_falls_back_to_all_of_them():
    features, labels = clustered()
    nothing = NegativeSampling(nearest=1.99)
    triplets = draw_triplets(features, labels, nothing, torch.Generator().manual_seed(0))
    for anchor in (0, 17):
        drawn = triplets.negatives[triplets.anchors == anchor]
        assert len(drawn.unique()) > 0.7 * len(drawn)


def test_far_negatives_are_preferred_less_the_larger_the_dimension_cap():
    features, labels = clustered(dimension=512, spread=3.0)
    distances = pairwise_distances(features)

    def mean_distance(**fields) -> float:
        triplets = draw_triplets(features, labels, NegativeSampling(**fields), torch.Generator().manual_seed(0))
        return float(distances[triplets.anchors, triplets.negatives].mean())

    steep, capped = mean_distance(dimension_cap=512), mean_distance(dimension_cap=16)
    assert steep < capped < mean_distance(weighted=False)


def test_weights_do_not_underflow_where_near_pairs_are_masked():
    """Shifting by the maximum over all pairs first, as the released code does, sends these anchors to uniform draws."""
    generator = torch.Generator().manual_seed(0)
    angles = torch.cat([torch.zeros(2), torch.full((2,), 1e-3), 0.52 + 0.05 * torch.arange(8)])
    features = torch.zeros(12, 128)
    features[:, 0], features[:, 1] = angles.cos(), angles.sin()
    labels = torch.tensor([0, 0, *[1] * 10])
    weighted = NegativeSampling(nearest=0.5, dimension_cap=128)
    picked = torch.cat([draw_triplets(features, labels, weighted, generator).negatives[:2] for _ in range(200)])
    assert (picked == 4).float().mean() > 0.5  # the nearest of the eight eligible ones, not one in eight


@pytest.mark.parametrize("swapped", [True, False])
def test_direction_of_each_phase(swapped):
    """Synthesis (swapped): same-class distances grow and others shrink. The student's phase: the reverse."""
    features, labels = clustered(spread=2.0)
    features.requires_grad_()
    same = (labels[:, None] == labels[None, :]) & ~torch.eye(len(labels), dtype=torch.bool)
    different = labels[:, None] != labels[None, :]

    def gap() -> tuple[float, float]:
        distances = pairwise_distances(features).detach()
        return float(distances[same].mean()), float(distances[different].mean())

    before = gap()
    optimizer = torch.optim.SGD([features], lr=20.0)
    for step in range(20):
        sampling = FOCAL_WEIGHTED if swapped else DISTANCE_WEIGHTED
        triplets = draw_triplets(features, labels, sampling, torch.Generator().manual_seed(step))
        loss = triplet_loss(features, triplets, swapped=swapped)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = gap()
    assert (after[0] > before[0]) == swapped
    assert (after[1] < before[1]) == swapped


@pytest.mark.parametrize("labels", [[3, 3, 3, 3], [0, 1, 2, 3], [5], []])
def test_batches_without_triplets(labels):
    features = torch.randn(len(labels), 8, requires_grad=True)
    triplets = draw_triplets(features, torch.tensor(labels, dtype=torch.int64), FOCAL_WEIGHTED)
    loss = triplet_loss(features, triplets)
    loss.backward()
    assert len(triplets) == 0 and float(loss.detach()) == 0
    assert features.grad is not None and not features.grad.any()


def test_dead_features_and_equal_samples_give_finite_gradients():
    features = torch.zeros(8, 16)
    features[:4] = 1.0
    features.requires_grad_()
    labels = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1])
    for sampling in (FOCAL_WEIGHTED, DISTANCE_WEIGHTED, UNIFORM):
        loss = triplet_loss(features, draw_triplets(features, labels, sampling), swapped=True)
        loss.backward()
        assert features.grad.isfinite().all()


def test_a_thousand_classes_in_a_batch_of_sixteen():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1000, (8,), generator=generator).repeat(2)
    features = torch.rand(16, 512, generator=generator)
    triplets = draw_triplets(features, labels, FOCAL_WEIGHTED, generator)
    assert len(triplets) == 16
    assert float(triplet_loss(features, triplets, swapped=True)) > 0


def test_draws_follow_the_generator():
    features, labels = clustered()
    first, again, other = (
        draw_triplets(features, labels, UNIFORM, torch.Generator().manual_seed(seed)).negatives for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
