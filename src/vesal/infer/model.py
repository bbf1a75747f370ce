"""A model and a scan -> a label map on the scan's own grid; its networks are torch's, or the runtime's on numpy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesal import memory_limit
from vesal.data.labels import LabelSet
from vesal.errors import UsageError
from vesal.files import content_hash
from vesal.infer.arrays.arrays import NUMPY, Array, Arrays, torch_arrays
from vesal.infer.box_search import search_box
from vesal.infer.channels.missing_channels import refuse_missing
from vesal.infer.locate import Place, find_place, foreground
from vesal.infer.logits_to_labels import (
    LabelWriter,
    class_probabilities,
    labels_from_logits,
)
from vesal.infer.postprocess import Postprocess
from vesal.infer.quality.estimate import MIN_DICE, QualityEstimate, QualityEstimator
from vesal.infer.quality.image_features import image_features
from vesal.infer.quality.mask_features import volumes_ml
from vesal.infer.quality.network_features import FeatureRecorder
from vesal.infer.quality.volumes.interval_level import LEVEL
from vesal.infer.windows import Network, Windows, predict_logits, stream_logits
from vesal.planning.axes import lateral_axis, mirror_axes
from vesal.planning.plan import Plan
from vesal.preprocessing.prepare import Prepared, prepare
from vesal.volume.geometry import Geometry
from vesal.volume.volume import LabelMap, Volume

if TYPE_CHECKING:
    from vesal.nn.model_file import Package

#: Voxels of all windows of one forward pass: enough to keep the device busy, little enough for 2 GiB.
_BATCH_VOXELS = {"cpu": 1 << 19, "cuda": 1 << 23}


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for one scan.

    Attributes:
        label: on the scan's own grid, with the values of the training files.
        probabilities: class -> (*scan shape) float32 if requested, as `Model.class_probabilities` gives them.
        quality: how far to trust it, if requested and where the model holds a quality model.
        concern: why it is to be reviewed, as far as two stages show it by themselves; '' without a reason.
        shape: of the prepared scan; of two stages of the box that was found at last.
    """

    label: LabelMap
    probabilities: dict[str, NDArray[np.float32]] | None = None
    quality: QualityEstimate | None = None
    concern: str = ""
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Model:
    """One network or several that vote by the mean of their logits, and all that they need to predict.

    Attributes:
        plan: of the first network; all must prepare alike.
        networks: callables in eval mode on `device`.
        device: where torch computes; None for networks on numpy's arrays.
        packages: where they came from; empty for networks that are being trained.
        postprocess: what is done to label maps on the scan's own grid; None for nothing.
        quality_estimator: estimates how far to trust its results; None without a quality model.
        locator: the coarse model that sees a scan first: it finds where to look, or hands on its label map, as the
            plan says; None where there is one stage.
    """

    plan: Plan
    networks: tuple[Network, ...]
    device: Any
    packages: tuple[Package, ...] = ()
    postprocess: Postprocess | None = None
    quality_estimator: QualityEstimator | None = None
    locator: Model | None = None

    @cached_property
    def arrays(self) -> Arrays:
        """What the networks' arrays are of."""
        return NUMPY if self.device is None else torch_arrays(self.device)

    @property
    def temperature(self) -> float:
        """Logits are divided by it before they become probabilities; 1 where none was fitted."""
        return 1.0 if self.quality_estimator is None else self.quality_estimator.temperature

    @property
    def labels(self) -> LabelSet:
        """What the model predicts."""
        return self.plan.labels

    @property
    def backend(self) -> str:
        """What has computed the networks last, such as 'OpenVINO 2026.4.1'."""
        return backend_name(self.networks)

    @property
    def looks_in_box(self) -> bool:
        """Whether scans are segmented within a box that the locator finds."""
        return self.locator is not None and not self.plan.takes_masks

    @property
    def digest(self) -> str:
        """The same for models that give the same results, with their post-processing; '' for bare networks."""
        if not self.packages:
            return ""
        steps = None if self.postprocess is None else self.postprocess.to_dict()
        narrow = [getattr(network, "in_bfloat16", False) for network in self.networks]
        rest = [self.plan.identity(), steps, self.temperature, narrow]
        return content_hash(
            *(package.weights_digest.encode() for package in self.packages), json.dumps(rest).encode()
        )

    def prepare(
        self,
        volume: Volume,
        label: LabelMap | None = None,
        *,
        mirror: bool = False,
        overlap: float | None = None,
    ) -> Prepared:
        """A scan ready for the networks: the part of it that the locator names, or all of it.

        Args:
            volume: the scan.
            label: of the scan.
            mirror, overlap: as of `windows`, for the label map that the first stage of a cascade hands on: nnU-Net
                predicts both stages alike. A box is found without mirrored copies.

        Raises:
            DataError: as `vesal.preprocessing.prepare.prepare`.
            UsageError: a channel is absent, and the model was not trained for that.
        """
        absent = [self.plan.channels[place] for place in volume.absent]
        if absent:
            refuse_missing(absent, [package.recipe for package in self.packages])
        if self.locator is None:
            return prepare(volume, self.plan, label)
        if self.plan.takes_masks:
            found = self.locator.predict(volume, mirror=mirror, overlap=overlap)
            return prepare(volume, self.plan, label, first_stage=found.label)
        place = self.locator.locate(volume, self.plan.margin_mm)
        everywhere = (
            (0,) * volume.geometry.ndim,
            volume.geometry.turned(volume.geometry.turn_to_ras()).shape,
        )
        prepared = prepare(volume, self.plan, label, box=place.box or everywhere)
        return replace(prepared, concern=place.concern)

    def locate(self, volume: Volume, margin_mm: float) -> Place:
        """Where in a scan this model, as the coarse one of two stages, sees foreground, with a margin around it."""
        whole = prepare(volume, self.plan)
        logits = self.logits(whole.image, self.windows())
        return find_place(foreground(self.arrays.numpy(logits), self.labels), whole.crop, margin_mm)

    def windows(self, *, mirror: bool = False, overlap: float | None = None) -> Windows:
        """How a volume is cut: the training patch, as many at once as the device likes; None for the plan's overlap."""
        device = "cpu" if self.device is None else self.device.type
        room = _BATCH_VOXELS.get(device, 1 << 22)
        # Axes that training mirrored, without the left/right axis where a mirrored left is a right.
        lateral = lateral_axis(self.plan) if self.labels.swaps else None
        axes = tuple(axis for axis in mirror_axes(self.plan) if axis != lateral)
        rules = self.plan.rules
        if rules != "vesal":
            axes = self.plan.mirror_axes  # those that it was trained to take, labels unswapped
        return Windows(
            patch=self.plan.patch,
            overlap=self.plan.overlap if overlap is None else overlap,
            batch=max(1, room // int(np.prod(self.plan.patch))),
            mirror_axes=axes if mirror else (),
            nnunet=rules == "nnunet",
            networks=len(self.networks) if rules == "nnunet" else 1,
            monai=self.plan.blend if rules == "monai" else None,
        )

    def feature_recorder(
        self, windows: Windows, *, uncertainty: bool = False, reference_networks: Sequence[Network] = ()
    ) -> FeatureRecorder:
        """Records features of the networks while one scan is predicted (`vesal.infer.quality.network_features`)."""
        return FeatureRecorder(
            [(network, _encoder(network)) for network in self.networks],
            self.labels,
            windows,
            uncertainty=uncertainty,
            temperature=self.temperature,
            reference_networks=reference_networks,
        )

    def logits(
        self, image: NDArray[np.float32], windows: Windows, *, recorder: FeatureRecorder | None = None
    ) -> Array:
        """Mean logits (K, *S) of a prepared image (C, *S), over the temperature where one was fitted.

        Behind them comes the uncertainty of each voxel, 0 to 1, where `recorder` gives it.
        """
        outputs = self.labels.outputs if recorder is None else recorder.outputs
        if recorder is not None:
            windows = replace(windows, networks=1)
        found = predict_logits(
            recorder or self._vote, self.arrays.of(image), windows, outputs=outputs, device=self.device
        )
        if self.temperature != 1.0:
            self.arrays.divide(found[: self.labels.outputs], self.temperature)
        return found

    def segment(
        self,
        prepared: Prepared,
        windows: Windows,
        *,
        threshold: float = 0.5,
        recorder: FeatureRecorder | None = None,
        on_rows: Callable[[Array, int], None] | None = None,
    ) -> LabelMap:
        """Labels on the scan's own grid, made row by row while windows are predicted.

        What `from_logits` makes of the whole volume's `logits`, with those of one window's depth in memory.

        Args:
            prepared: the scan.
            windows: how it is cut.
            threshold: as of `predict`.
            recorder: takes the place of the vote.
            on_rows: gets all rows (K, *S) as the networks gave them, the uncertainty behind them where `recorder`
                gives it, and the number of the first; they are not to be kept.
        """
        crop, axis = prepared.crop, windows.stream_axis(prepared.crop.shape)
        # As files hold it, the last axis slowest, where it lies on the disk.
        shape = crop.source.shape
        contiguous = memory_limit.array(shape, np.uint8, slow_axis=len(shape) - 1, zeros=True)
        writer = LabelWriter(
            crop.cut(contiguous),
            crop.shape,
            self.labels,
            axis=axis,
            threshold=threshold,
            nearest_axis=crop.nearest_axis,
            steps=crop.steps,
            in_16_bits=windows.nnunet,
        )
        outputs = self.labels.outputs
        if recorder is not None:  # which takes the mean itself
            windows = replace(windows, networks=1)
        first = 0
        for rows in stream_logits(
            recorder or self._vote,
            self.arrays.of(prepared.image),
            windows,
            outputs=outputs if recorder is None else recorder.outputs,
            device=self.device,
        ):
            if on_rows is not None:
                on_rows(rows, first)
            first += rows.shape[axis + 1]
            logits = rows[:outputs]
            # At one half the temperature changes no label, but where probabilities are interpolated.
            plain = threshold == 0.5 and crop.steps is None
            writer.add(self.arrays.numpy(logits if plain else logits / self.temperature))
        return self._label_map(contiguous, crop.source)

    def segment_within(
        self, volume: Volume, prepared: Prepared, windows: Windows, **options: Any
    ) -> tuple[LabelMap, Prepared]:
        """`segment`, and of two stages once more around what was found, where that is another box.

        Args:
            volume: the scan, which is prepared again then.
            prepared, windows, options: as of `segment`.

        Returns:
            The label map, and what it was made of, with every reason to review it.
        """
        if not self.looks_in_box:
            return self.segment(prepared, windows, **options), prepared
        return search_box(lambda part: self.segment(part, windows, **options), volume, prepared, self.plan)

    def _label_map(self, contiguous: NDArray[np.uint8], grid: Geometry) -> LabelMap:
        if self.postprocess is not None:
            self.postprocess.apply(contiguous, self.labels, grid.voxel_volume_mm3)
        return LabelMap(self.labels.decode(contiguous), grid)

    def _vote(self, batch: Array) -> Array:
        """Logits of a batch of windows: the networks' mean; by nnU-Net's way one network's behind the other's."""
        if self.plan.rules == "nnunet" and len(self.networks) > 1:
            return self.arrays.join([network(batch) for network in self.networks])
        total = self.networks[0](batch)
        for network in self.networks[1:]:
            total = total + network(batch)
        return total / len(self.networks) if len(self.networks) > 1 else total

    def predict(
        self,
        volume: Volume | NDArray[Any],
        *,
        spacing_mm: Sequence[float] | None = None,
        mirror: bool = False,
        overlap: float | None = None,
        threshold: float = 0.5,
        probabilities: bool = False,
        quality: bool = False,
        interval_level: float = LEVEL,
    ) -> Prediction:
        """Segment one scan.

        Args:
            volume: a Volume, or an array (C, *spatial) with its `spacing_mm`, taken as RAS+.
            mirror: average over mirrored copies (2, 4 or 8 times the time).
            overlap: of neighbouring windows, 0 to under 1; the plan's if None.
            threshold: probability from which foreground holds: for regions each one's own; for plain classes
                that of the likeliest one against the background alone, so that 0.5 is the argmax
                (`vesal.infer.logits_to_labels.LabelWriter`).
            probabilities: also return them.
            quality: also estimate how far to trust the result; about twice the time.
            interval_level: of the intervals around volumes that come with the estimate.

        Raises:
            DataError: the scan does not fit the model (channels, dimension, NaN).
            UsageError: an array without spacing, or a threshold or a level outside 0..1.
        """
        if not 0.0 < threshold < 1.0:
            raise UsageError(f"The threshold is a probability between 0 and 1, not {threshold}.")
        if not 0.0 < interval_level < 1.0:
            raise UsageError(f"The level of intervals is between 0 and 1, not {interval_level}.")
        if not isinstance(volume, Volume):
            if spacing_mm is None:
                raise UsageError("An array needs its spacing_mm; pass a Volume or the spacing.")
            volume = Volume(volume, Geometry.from_spacing(volume.shape[1:], spacing_mm))
        prepared = self.prepare(volume, mirror=mirror, overlap=overlap)
        windows = self.windows(mirror=mirror, overlap=overlap)
        recorder = self.feature_recorder(windows) if quality and self.quality_estimator is not None else None
        if recorder is None and not probabilities:
            label, prepared = self.segment_within(volume, prepared, windows, threshold=threshold)
            return Prediction(label, concern=prepared.concern, shape=prepared.crop.shape)
        # Of the scan as it was prepared first, as where the estimate was fitted.
        features = None if recorder is None else image_features(volume, prepared)
        if self.looks_in_box:
            # The features are of one passage through the box that is found at last.
            _, prepared = self.segment_within(volume, prepared, windows, threshold=threshold)
        if probabilities:
            logits = self.logits(prepared.image, windows, recorder=recorder)
            maps = dict(self.class_probabilities(logits, prepared))
            found = Prediction(self.from_logits(logits, prepared, threshold=threshold), maps)
        else:
            found = Prediction(self.segment(prepared, windows, threshold=threshold, recorder=recorder))
        found = replace(found, concern=prepared.concern, shape=prepared.crop.shape)
        if recorder is None or features is None:
            return found
        estimate = self.estimate_quality(features, recorder, found.label, interval_level=interval_level)
        return replace(found, quality=estimate)

    def estimate_quality(
        self,
        image: dict[str, dict[str, float]],
        recorder: FeatureRecorder,
        label: LabelMap,
        *,
        min_dice: float = MIN_DICE,
        interval_level: float = LEVEL,
    ) -> QualityEstimate:
        """How far to trust a result, by `image_features` of its scan, `recorder`, and the final label map.

        Args:
            min_dice: a result with a class whose expected Dice is lower is to be reviewed.
            interval_level: of the intervals around volumes.

        Raises:
            UsageError: the model has no quality model.
        """
        if self.quality_estimator is None:
            raise UsageError("This model has no quality model; train it with held-out scans (--fold all).")
        contiguous = self.labels.encode(label.array)
        features = recorder.features(image, contiguous, label.geometry)
        return self.quality_estimator.estimate(
            features,
            min_dice=min_dice,
            volumes_ml=volumes_ml(contiguous, label.geometry, self.labels),
            level=interval_level,
        )

    def from_logits(self, logits: Array, prepared: Prepared, *, threshold: float = 0.5) -> LabelMap:
        """Logits (K, *S) on the prepared grid -> labels on the scan's own grid."""
        crop = prepared.crop
        contiguous = labels_from_logits(
            self.arrays.numpy(logits),
            crop.crop_shape,
            self.labels,
            threshold=threshold,
            nearest_axis=crop.nearest_axis,
            steps=crop.steps,
            in_16_bits=self.plan.rules == "nnunet",
        )
        return self._label_map(crop.paste(contiguous), crop.source)

    def class_probabilities(
        self, logits: Array, prepared: Prepared
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield (class, probability on the scan's own grid) for each of `labels.classes`, one after the other.

        For scans whose maps would not fit into memory together. Outside the crop they are 0.
        """
        crop = prepared.crop
        maps = class_probabilities(
            self.arrays.numpy(logits),
            crop.crop_shape,
            self.labels,
            nearest_axis=crop.nearest_axis,
            steps=crop.steps,
        )
        for name in self.labels.classes:
            yield name, crop.paste(next(maps))


def backend_name(networks: Sequence[Network]) -> str:
    """What has computed these networks last, such as 'OpenVINO 2026.4.1' or 'torch'."""
    return ", ".join(dict.fromkeys(getattr(network, "backend", "torch") for network in networks))


def _encoder(network: Network) -> Callable[[Array], NDArray[np.float64]] | None:
    """What gives the features of a network's encoder; None where it has none that is known."""
    own: Callable[[Array], NDArray[np.float64]] | None = getattr(network, "encoded", None)
    if own is not None:
        return own
    from vesal.infer.quality.encoder_features import encoder_of  # torch

    return encoder_of(getattr(network, "module", network))
