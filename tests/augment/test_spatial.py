"""Warps and mirrors: exactness, millimetres, and that image and label move together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from augment_examples import make_plan
from torch import Tensor

from vesal.augment.config import AugmentConfig
from vesal.augment.policy import Policy
from vesal.augment.spatial import Mirror, QuarterTurn, Warp
from vesal.data.labels import LabelSet

NO_SIDES = LabelSet.from_values({"tumour": 1})


def make_policy(spacing_mm: tuple[float, ...], config: AugmentConfig) -> Policy:
    plan = make_plan(len(spacing_mm), spacing_mm=spacing_mm, slice_axis=2, labels=NO_SIDES, schemes=("none",))
    return Policy(plan, config)


def turn(
    degrees: float, *, axes: tuple[int, ...] = (0, 1), spacing_mm: tuple[float, ...] = (1.0, 1.0)
) -> Warp:
    return Warp(axes, spacing_mm, torch.tensor([[degrees]]), torch.ones(1))


def centroid(mass: Tensor) -> Tensor:
    """(S...) weights -> (D,) voxel coordinates of their centre."""
    mass = mass.double()
    grid = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in mass.shape], indexing="ij")
    return torch.stack([(axis * mass).sum() for axis in grid]) / mass.sum()


# --- exactness ------------------------------------------------------------------------------------------


def test_identity_parameters_give_the_very_same_tensors() -> None:
    image, label = torch.randn(2, 1, 5, 6, 7), torch.zeros(2, 5, 6, 7, dtype=torch.uint8)
    identity = Warp((0, 1, 2), (1.0, 1.0, 1.0), torch.zeros(2, 3), torch.ones(2), torch.zeros(2, 3, 4, 4, 4))
    out = identity.apply(image, label)
    assert out[0] is image
    assert out[1] is label
    out = Mirror(torch.zeros(2, 3, dtype=torch.bool)).apply(image, label)
    assert out[0] is image
    assert out[1] is label


def test_only_the_samples_that_are_warped_change() -> None:
    image, label = torch.randn(3, 1, 8, 8), torch.randint(0, 3, (3, 8, 8), dtype=torch.uint8)
    warp = Warp((0, 1), (1.0, 1.0), torch.tensor([[0.0], [20.0], [0.0]]), torch.ones(3))
    out_image, out_label = warp.apply(image, label)
    for row in (0, 2):
        assert torch.equal(out_image[row], image[row])
        assert torch.equal(out_label[row], label[row])
    assert not torch.equal(out_image[1], image[1])


def test_a_quarter_turn_is_rot90() -> None:
    image, label = torch.randn(1, 2, 9, 9), torch.randint(0, 4, (1, 9, 9), dtype=torch.uint8)
    out_image, out_label = turn(90.0).apply(image, label)
    assert torch.allclose(out_image, torch.rot90(image, -1, (2, 3)), atol=1e-4)
    assert torch.equal(out_label, torch.rot90(label, -1, (1, 2)))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 1.7, 2.4)])
def test_a_warp_in_three_dimensions_agrees_with_scipy(spacing_mm: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)
    array = scipy.ndimage.gaussian_filter(rng.normal(size=(17, 20, 14)), 1.5).astype(np.float32)
    warp = Warp((0, 1, 2), spacing_mm, torch.tensor([[20.0, -13.0, 28.0]]), torch.tensor([1.25]))
    image = torch.from_numpy(array)[None, None]
    out, _ = warp.apply(image, torch.zeros(1, 17, 20, 14, dtype=torch.uint8))

    def about(axis: int, degrees: float) -> np.ndarray:
        i, j = (other for other in range(3) if other != axis)
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        matrix = np.eye(3)
        matrix[[i, i, j, j], [i, j, i, j]] = cos, -sin, sin, cos
        return matrix

    spacing = np.diag(spacing_mm)
    in_mm = about(0, 20.0) @ about(1, -13.0) @ about(2, 28.0) / 1.25
    matrix = np.linalg.inv(spacing) @ in_mm @ spacing
    middle = (np.array(array.shape) - 1) / 2
    expected = scipy.ndimage.affine_transform(array, matrix, middle - matrix @ middle, order=1)
    # Beyond the outermost voxel centres scipy stops at once, torch half a voxel later.
    places = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), axis=-1)
    source = (places - middle) @ matrix.T + middle
    inside = ((source >= 0) & (source <= np.array(array.shape) - 1)).all(axis=-1)
    assert inside.mean() > 0.5
    assert np.abs(out[0, 0].numpy() - expected)[inside].max() < 1e-4


def test_a_ball_stays_a_ball_in_millimetres_when_voxels_are_not_cubes() -> None:
    spacing = torch.tensor([1.0, 1.5, 2.5])
    shape = (40, 28, 16)
    axes = [(torch.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing, strict=True)]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    ball = torch.exp(-(x**2 + y**2 + z**2) / (2 * 6.0**2))[None, None]
    label = torch.zeros(1, *shape, dtype=torch.uint8)
    angles = torch.tensor([[30.0, 20.0, -25.0]])
    in_mm, _ = Warp((0, 1, 2), tuple(spacing.tolist()), angles, torch.ones(1)).apply(ball, label)
    in_voxels, _ = Warp((0, 1, 2), (1.0, 1.0, 1.0), angles, torch.ones(1)).apply(ball, label)
    assert (in_mm - ball).abs().max() < 0.05
    assert (in_voxels - ball).abs().max() > 0.15


def test_a_scale_above_one_enlarges_by_that_much() -> None:
    label = torch.zeros(1, 32, 32, 32, dtype=torch.uint8)
    label[:, 11:21, 11:21, 11:21] = 1
    warp = Warp((0, 1, 2), (1.0, 1.0, 1.0), torch.zeros(1, 3), torch.tensor([1.4]))
    _, out = warp.apply(label[:, None].float(), label)
    assert out.sum() / label.sum() == pytest.approx(1.4**3, rel=0.05)


def test_what_comes_from_outside_is_zero_and_background() -> None:
    image, label = torch.full((1, 1, 16, 16), 5.0), torch.full((1, 16, 16), 3, dtype=torch.uint8)
    warp = Warp((0, 1), (1.0, 1.0), torch.zeros(1, 1), torch.tensor([0.5]))
    out_image, out_label = warp.apply(image, label)
    assert (out_image[0, 0, :3] == 0).all()
    assert (out_label[0, :3] == 0).all()
    assert (out_label[0, 5:11, 5:11] == 3).all()


# --- thick slices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("coarse", [0, 1, 2])
def test_thick_slices_are_warped_alike_and_each_for_itself(coarse: int) -> None:
    axes = tuple(axis for axis in range(3) if axis != coarse)
    shape = tuple(5 if axis == coarse else 12 for axis in range(3))
    image, label = torch.randn(1, 2, *shape), torch.randint(0, 3, (1, *shape), dtype=torch.uint8)
    out_image, out_label = turn(25.0, axes=axes).apply(image, label)
    flat = turn(25.0)
    for index in range(5):
        one_image, one_label = flat.apply(image.select(2 + coarse, index), label.select(1 + coarse, index))
        assert torch.allclose(out_image.select(2 + coarse, index), one_image, atol=1e-6)
        assert torch.equal(out_label.select(1 + coarse, index), one_label)


# --- image and label together ---------------------------------------------------------------------------


@pytest.mark.parametrize("elastic", [0.0, 1.0], ids=["affine", "elastic"])
@pytest.mark.parametrize(
    ("shape", "spacing_mm", "warped"),
    [
        ((48, 40), (1.0, 1.4), (0, 1)),
        ((32, 36, 28), (1.0, 1.2, 1.5), (0, 1, 2)),
        ((36, 40, 8), (1.0, 1.0, 6.0), (0, 1)),
    ],
    ids=["2D", "3D", "thick slices"],
)
def test_a_cube_and_its_label_stay_together(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...], warped: tuple[int, ...], elastic: float
) -> None:
    config = AugmentConfig(rotation_probability=1, scale_probability=1, elastic_probability=elastic)
    policy = make_policy(spacing_mm, config)
    assert policy.frame.plane == warped
    label = torch.zeros(1, *shape, dtype=torch.uint8)
    label[(0, *(slice(n // 2 - n // 5, n // 2 + n // 8) for n in shape))] = 1
    image = label[:, None].float() * 3
    moved = 0.0
    for seed in range(8):
        drawn = policy.draw(1, shape, torch.Generator().manual_seed(seed))
        assert drawn.warp is not None
        assert drawn.mirror is not None
        out_image, out_label = drawn.mirror.apply(*drawn.warp.apply(image, label))
        distance = centroid(out_image[0, 0]) - centroid(out_label[0])
        assert distance.abs().max() < 0.5
        moved = max(moved, float((centroid(out_label[0]) - centroid(label[0])).abs().max()))
    assert moved > 1.0


def test_the_ignored_value_is_moved_like_any_other() -> None:
    label = torch.zeros(1, 24, 24, dtype=torch.uint8)
    label[:, 6:12, 6:12] = 255
    _, out = turn(30.0).apply(label[:, None].float(), label)
    assert set(out.unique().tolist()) == {0, 255}
    assert (out == 255).sum() == pytest.approx(36, abs=5)


# --- elastic --------------------------------------------------------------------------------------------


def test_an_elastic_deformation_moves_by_millimetres_and_does_not_fold() -> None:
    config = AugmentConfig(
        elastic_probability=1, elastic_range=(0.39, 0.39), rotation_probability=0, scale_probability=0
    )
    shape, spacing_mm = (48, 40, 24), (1.0, 1.0, 2.0)
    policy = make_policy(spacing_mm, config)
    size = torch.tensor([48.0, 40.0, 24.0])
    for seed in range(4):
        warp = policy.draw(1, shape, torch.Generator().manual_seed(seed)).warp
        assert warp is not None
        source = (warp._grid(0, shape, torch.device("cpu")).flip(-1) * size / 2).double()
        steps = torch.stack([source.diff(dim=axis)[:47, :39, :23] for axis in range(3)], dim=-1)
        assert torch.linalg.det(steps).min() > 0
        here = torch.stack(
            torch.meshgrid(*[torch.arange(n) - (n - 1) / 2 for n in shape], indexing="ij"), dim=-1
        )
        moved_mm = ((source - here) * torch.tensor(spacing_mm)).abs().max()
        assert 1.0 < moved_mm < 0.39 * 12.01


def test_equal_control_points_shift_the_whole_patch() -> None:
    image, label = torch.randn(1, 1, 12, 12), torch.randint(0, 3, (1, 12, 12), dtype=torch.uint8)
    displacement = torch.zeros(1, 2, 4, 5)
    displacement[:, 0] = 4.0
    warp = Warp((0, 1), (2.0, 1.0), torch.zeros(1, 1), torch.ones(1), displacement)
    out_image, out_label = warp.apply(image, label)
    assert torch.allclose(out_image[0, 0, :-3], image[0, 0, 2:-1], atol=1e-5)
    assert torch.equal(out_label[0, :-3], label[0, 2:-1])


# --- shift, shear, grid distortion ----------------------------------------------------------------------


def still(n: int = 1, **fields: Tensor) -> Warp:
    return Warp((0, 1), (2.0, 1.0), torch.zeros(n, 1), torch.ones(n), **fields)


def test_a_shift_moves_the_content_by_millimetres() -> None:
    image, label = torch.randn(1, 1, 12, 12), torch.randint(0, 3, (1, 12, 12), dtype=torch.uint8)
    out_image, out_label = still(shift_mm=torch.tensor([[4.0, -3.0]])).apply(image, label)
    assert torch.allclose(out_image[0, 0, 2:, :-3], image[0, 0, :-2, 3:], atol=1e-5)
    assert torch.equal(out_label[0, 2:, :-3], label[0, :-2, 3:])
    assert (out_image[0, 0, :2] == 0).all()
    assert (out_label[0, :, -3:] == 0).all()


def test_a_shear_slides_each_line_in_proportion_to_its_distance_from_the_middle() -> None:
    shear = torch.zeros(1, 2, 2)
    shear[0, 1, 0] = 0.5  # 1 mm along the second axis for each 2 mm (one voxel) along the first.
    image = torch.randn(1, 1, 9, 15)
    out, _ = still(shear=shear).apply(image, torch.zeros(1, 9, 15, dtype=torch.uint8))
    for row in range(9):
        moved = row - 4
        inner = slice(4, -4)
        assert torch.allclose(out[0, 0, row, inner], image[0, 0, row].roll(-moved)[inner], atol=1e-5)


def test_grid_distortion_stretches_each_interval_by_its_own_factor() -> None:
    image = torch.arange(32.0).expand(1, 1, 8, 32).contiguous()
    widths = torch.tensor([[[1.0, 1.0, 1.0, 1.0], [0.5, 1.5, 1.2, 0.8]]])
    out, _ = still(widths=widths).apply(image, torch.zeros(1, 8, 32, dtype=torch.uint8))
    steps = out[0, 0, 4].diff()
    for interval, width in enumerate((0.5, 1.5, 1.2, 0.8)):
        inside = steps[interval * 8 + 1 : interval * 8 + 6]
        assert torch.allclose(inside, torch.full_like(inside, width), atol=1e-4)
    assert out[0, 0, 4, 16].item() == pytest.approx(16.1, abs=1e-4)  # Half of the patch is where it was.


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((40, 36), (1.0, 1.3)), ((24, 28, 20), (1.0, 1.3, 2.0)), ((24, 28, 6), (1.0, 1.3, 4.0))],
)
def test_grid_distortion_shift_and_shear_keep_image_and_label_together(
    shape: tuple[int, ...], spacing_mm: tuple[float, ...]
) -> None:
    probabilities = {name: 0.0 for name in AugmentConfig.model_fields if name.endswith("_probability")}
    for name in ("grid", "translate", "shear"):
        config = AugmentConfig(**(probabilities | {f"{name}_probability": 1.0}))
        policy = make_policy(spacing_mm, config)
        label = torch.zeros(4, *shape, dtype=torch.uint8)
        label[(slice(None), *(slice(n // 4, n // 4 + n // 2) for n in shape))] = 1
        for seed in range(3):
            drawn = policy.draw(4, shape, torch.Generator().manual_seed(seed))
            assert drawn.warp is not None
            image, moved = drawn.warp.apply(label[:, None].float(), label)
            assert not torch.equal(moved, label)
            differs = (image[:, 0] > 0.5) != (moved == 1)
            # Only at corners of the box can rounding of linear weights and the nearest voxel disagree.
            assert differs.float().mean() < 0.01, name
            if name == "grid":
                assert moved.float().mean() > 0.5 * label.float().mean()


def test_a_label_shaped_image_stays_equal_to_the_label_under_grid_distortion() -> None:
    """Stripes across one axis: there rounding of the linear image is the nearest voxel."""
    widths = 1 + 0.3 * (2 * torch.rand(6, 2, 5, generator=torch.Generator().manual_seed(0)) - 1)
    label = (torch.arange(40) // 7 % 2).to(torch.uint8).expand(6, 24, 40).contiguous()
    image, moved = still(6, widths=widths).apply(label[:, None].float(), label)
    assert torch.equal(image[:, 0].round().to(torch.uint8), moved)
    assert not torch.equal(moved, label)


# --- quarter turns --------------------------------------------------------------------------------------


def test_quarter_turns_are_rot90_of_image_and_label() -> None:
    image, label = torch.randn(4, 2, 9, 9, 5), torch.randint(0, 4, (4, 9, 9, 5), dtype=torch.uint8)
    out_image, out_label = QuarterTurn(torch.arange(4), (0, 1)).apply(image, label)
    for turns in range(4):
        assert torch.equal(out_image[turns], torch.rot90(image[turns], turns, (1, 2)))
        assert torch.equal(out_label[turns], torch.rot90(label[turns], turns, (0, 1)))
    nothing = QuarterTurn(torch.zeros(4, dtype=torch.int64), (0, 1)).apply(image, label)
    assert nothing[0] is image
    assert nothing[1] is label


def test_a_patch_that_is_not_square_refuses_a_quarter_turn_and_takes_half_a_turn() -> None:
    image, label = torch.randn(1, 1, 6, 8), torch.zeros(1, 6, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="90"):
        QuarterTurn(torch.tensor([1]), (0, 1)).apply(image, label)
    out, _ = QuarterTurn(torch.tensor([2]), (0, 1)).apply(image, label)
    assert torch.equal(out, image.flip([2, 3]))


# --- mirror ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 5)])
def test_mirroring_twice_is_the_identity(shape: tuple[int, ...]) -> None:
    image, label = torch.randn(8, 2, *shape), torch.randint(0, 4, (8, *shape), dtype=torch.uint8)
    flips = torch.rand(8, len(shape), generator=torch.Generator().manual_seed(0)) < 0.5
    mirror = Mirror(flips, lateral_axis=0, swaps=((1, 2),))
    once = mirror.apply(image, label)
    twice = mirror.apply(*once)
    assert not torch.equal(once[0], image)
    assert torch.equal(twice[0], image)
    assert torch.equal(twice[1], label)


def test_only_the_lateral_axis_swaps_and_only_the_pairs() -> None:
    label = torch.tensor([[[0, 1, 2, 3, 255]]], dtype=torch.uint8)
    image = label[:, None].float()

    def mirrored(*flips: bool) -> list[int]:
        mirror = Mirror(torch.tensor([flips]), lateral_axis=1, swaps=((1, 3),))
        return mirror.apply(image, label)[1].flatten().tolist()

    assert mirrored(False, True) == [255, 1, 2, 3, 0]
    assert mirrored(True, False) == [0, 1, 2, 3, 255]
