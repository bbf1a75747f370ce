"""What a MONAI bundle does around its network -> the part of a plan that does the same; or it is refused, and why."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vesal.errors import VesalError
from vesal.nn.monai_bundle.bundle_config import BundleConfig, Component, shown
from vesal.planning.plan import Normalisation
from vesal.text import listed

#: Arguments that change no value.
_HARMLESS = {
    "keys",
    "allow_missing_keys",
    "meta_keys",
    "meta_key_postfix",
    "device",
    "track_meta",
    "data_type",
}
#: Transforms that change no value of an image, as far as their arguments are these.
_READING = {
    "LoadImaged": {
        "reader",
        "image_only",
        "ensure_channel_first",
        "simple_keys",
        "prune_meta_pattern",
        "dtype",
    },
    "EnsureChannelFirstd": {"strict_check", "channel_dim"},
    "AddChanneld": set(),
    "EnsureTyped": {"dtype"},
    "ToTensord": {"dtype"},
}
_READERS = (None, "NibabelReader", "ITKReader", "nibabelreader", "itkreader")
_FLOATS = (None, "float32", "float", "$torch.float32", "$np.float32", "$numpy.float32")
#: After the network: what writes and counts.
_WRITING = ("SaveImaged", "EnsureTyped", "ToTensord")
#: What a window of intensities is stretched or shrunk by is far less.
_STEEPEST = 1e15
#: From which probability a region holds.
_HALF = 0.5


@dataclass(frozen=True)
class Preparation:
    """How scans become network input.

    Attributes:
        turned: to RAS+; else axes are those of the file.
        spacing_mm: that they are resampled to; None where they keep their own.
        normalisation: of every channel.
    """

    turned: bool
    spacing_mm: tuple[float, ...] | None
    normalisation: Normalisation


@dataclass(frozen=True)
class Sliding:
    """The sliding window inferer."""

    patch: tuple[int, ...]
    overlap: float
    blend: Literal["gaussian", "constant"]


@dataclass(frozen=True)
class Restoring:
    """What becomes of the network's outputs.

    Attributes:
        regions: they are sigmoids, each 1 from one half on; else the largest is the class.
        painted: (output, value in the file) of regions, the one that is painted last first; empty where there is one.
    """

    regions: bool
    painted: tuple[tuple[int, int], ...] = ()


def preparation(config: BundleConfig, channels: int) -> Preparation:
    """Of the entry `preprocessing`.

    Raises:
        VesalError: a step is one that Vesal does not do, or stands where it would do something else.
    """
    turned, spacing, how = False, None, None
    for step in _steps(config, "preprocessing"):
        given = _Step(config, step)
        if step.name in _READING:
            given.reading()
        elif step.name == "Orientationd":
            given.take("labels")
            if given.take("axcodes") != "RAS" or given.take("as_closest_canonical", False):
                raise given.refused("turns scans otherwise than to RAS, and Vesal to RAS or not at all")
            if spacing is not None:
                raise given.refused("turns scans after they were resampled, and Vesal before")
            turned = True
        elif step.name == "Spacingd":
            if how is not None or spacing is not None:
                raise given.refused(
                    "resamples after intensities were normalised, or again; Vesal resamples first"
                )
            spacing = given.spacing()
        elif step.name in ("ScaleIntensityRanged", "NormalizeIntensityd"):
            if how is not None:
                raise given.refused("normalises intensities a second time, and Vesal does once")
            how = given.window() if step.name == "ScaleIntensityRanged" else given.zscore(channels)
        else:
            raise VesalError(
                f"{config.path} prepares scans by {step.name[:60]}, which Vesal does not do; it follows Orientationd, "
                "Spacingd, and one of ScaleIntensityRanged and NormalizeIntensityd."
            )
        given.done()
    return Preparation(turned, spacing, how or Normalisation(scheme="none"))


def sliding(config: BundleConfig) -> Sliding:
    """Of the entry `inferer`.

    Raises:
        VesalError: it is no sliding window, or one that Vesal does not move alike.
    """
    found = config.component(config.raw("inferer"))
    if found is None or found.name != "SlidingWindowInferer":
        name = "nothing" if found is None else found.name[:60]
        raise VesalError(f"{config.path} predicts by {name}; Vesal follows SlidingWindowInferer alone.")
    given = _Step(config, found)
    given.pass_over("sw_batch_size", "sw_device", "progress", "cache_roi_weight_map", "cpu_thresh")
    roi = given.take("roi_size")
    patch = tuple(roi) if isinstance(roi, list) else (roi,) * 3
    if len(patch) != 3 or not all(type(size) is int and size > 0 for size in patch):
        raise given.refused(
            f"has a roi_size of {str(roi)[:60]}, and Vesal's windows have three sizes above 0"
        )
    overlap = given.take("overlap", 0.25)
    if isinstance(overlap, list) and overlap and overlap.count(overlap[0]) == len(overlap):
        overlap = overlap[0]
    if not isinstance(overlap, (int, float)) or not 0 <= overlap < 1:
        raise given.refused(
            f"has an overlap of {str(overlap)[:60]}, and Vesal's one for all axes, 0 to under 1"
        )
    mode = str(given.take("mode", "constant")).lower()
    blends: dict[str, Literal["gaussian", "constant"]] = {"gaussian": "gaussian", "constant": "constant"}
    if mode not in blends or given.take("sigma_scale", 0.125) != 0.125:
        raise given.refused(f"blends windows by {mode[:40]} with another sigma_scale than 0.125")
    if given.take("padding_mode", "constant") != "constant" or given.take("cval", 0.0) != 0:
        raise given.refused("pads small scans by other values than 0, as Vesal does")
    given.done()
    return Sliding(patch, float(overlap), blends[mode])


def restoring(config: BundleConfig, prepared: Preparation, outputs: int) -> Restoring:
    """Of the entry `postprocessing`.

    Raises:
        VesalError: a step is one that Vesal does not do, or stands where it would do something else.
    """
    steps = [one for one in _steps(config, "postprocessing") if one.name not in _WRITING]
    names = [one.name for one in steps]
    by_name = dict(zip(names, steps, strict=True))
    order = [one for one in ("Activationsd", "Invertd", "AsDiscreted", "Lambdad") if one in names]
    unlike = [one for one in names if one not in order]
    if unlike or "AsDiscreted" not in names:
        what = f"by {unlike[0][:60]}" if unlike else "without AsDiscreted"
        raise VesalError(
            f"{config.path} makes masks {what}, which Vesal does not follow; import another bundle."
        )
    resampled, moved = prepared.spacing_mm is not None, prepared.turned or prepared.spacing_mm is not None
    if names != order and (resampled or len(names) != len(order)):
        raise VesalError(
            f"{config.path} makes masks by {listed(names)} in this order; Vesal interpolates probabilities onto the "
            "scan's grid first, and chooses labels there."
        )
    if moved and "Invertd" not in names:
        raise VesalError(
            f"{config.path} leaves masks on another grid than the scan's (no Invertd), and Vesal does not."
        )
    active, discrete = (
        _Step(config, by_name[one]) if one in by_name else None for one in ("Activationsd", "AsDiscreted")
    )
    assert discrete is not None
    softmax, sigmoid = (bool(active and active.take(one, False)) for one in ("softmax", "sigmoid"))
    argmax, threshold = discrete.take("argmax", False), discrete.take("threshold", None)
    for one in (active, discrete):
        if one is not None:
            one.pass_over("to_onehot")
            one.done()
    if "Invertd" in by_name:
        _inverted(_Step(config, by_name["Invertd"]), resampled)
    if (
        argmax is True
        and threshold is None
        and not sigmoid
        and "Lambdad" not in names
        and (softmax or not resampled)
    ):
        return Restoring(regions=False)
    if not (sigmoid and threshold == _HALF and argmax is False):
        raise VesalError(
            f"{config.path} makes labels neither by softmax and argmax nor by sigmoid and a threshold of 0.5, which "
            "are what Vesal does."
        )
    if outputs == 1 and "Lambdad" not in names:
        return Restoring(regions=True, painted=((0, 1),))
    if "Lambdad" not in names:
        raise VesalError(
            f"{config.path} writes {outputs} regions into one file of as many channels; Vesal writes one label map."
        )
    return Restoring(regions=True, painted=_painted(by_name["Lambdad"], config))


def _inverted(given: _Step, resampled: bool) -> None:
    given.pass_over("transform", "orig_keys", "orig_meta_keys", "to_tensor")
    if given.take("nearest_interp", True) is not False and resampled:
        raise given.refused("takes masks back by the nearest voxel, and Vesal probabilities by interpolation")
    given.done()


def _steps(config: BundleConfig, name: str) -> list[Component]:
    whole = config.component(config.raw(name))
    if whole is None or whole.name != "Compose":
        raise VesalError(f"{config.path} has no Compose of MONAI's as {name}.")
    steps = whole.arguments.get("transforms")
    steps = config.raw(steps[1:]) if isinstance(steps, str) and steps[:1] == "@" else steps
    if not isinstance(steps, list):
        raise VesalError(f"{config.path} has no list of transforms as {name}.")
    return [found for one in steps if (found := config.component(one)) is not None]


class _Step:
    """A transform, whose arguments are taken one by one; what is left at last Vesal does not know."""

    def __init__(self, config: BundleConfig, step: Component) -> None:
        self._config, self._step = config, step
        self._left = dict(step.arguments)
        self.pass_over(*_HARMLESS)

    def take(self, name: str, default: Any = None) -> Any:
        return self._config.plain(self._left.pop(name)) if name in self._left else default

    def pass_over(self, *names: str) -> None:
        for name in names:
            self._left.pop(name, None)

    def refused(self, why: str) -> VesalError:
        return VesalError(f"{self._config.path}: {self._step.name} {why}.")

    def done(self) -> None:
        if rest := [name for name in list(self._left) if self.take(name) is not None]:
            raise self.refused(f"has {listed(rest)}, which Vesal does not follow")

    def reading(self) -> None:
        """A transform that changes nothing."""
        if self._left.pop("dtype", None) not in _FLOATS or self.take("reader") not in _READERS:
            raise self.refused("reads scans by a reader or a type of numbers that Vesal does not know")
        if self.take("channel_dim", "no_channel") not in ("no_channel", 0, -1):
            raise self.refused("takes another axis than the first or last as that of channels")
        self.pass_over(*_READING[self._step.name])

    def spacing(self) -> tuple[float, ...]:
        pixdim = self.take("pixdim")
        steps = pixdim if isinstance(pixdim, list) else [pixdim] * 3
        if len(steps) != 3 or not all(isinstance(one, (int, float)) and one > 0 for one in steps):
            raise self.refused(f"has a pixdim of {str(pixdim)[:60]}, and Vesal three spacings in mm")
        wanted = {
            "mode": ("bilinear", ["bilinear"]),
            "padding_mode": ("border", ["border"]),
            "align_corners": (False, None, [False]),
            "diagonal": (False,),
            "scale_extent": (False,),
            "recompute_affine": (False,),
        }
        for name, allowed in wanted.items():
            if (given := self.take(name, allowed[0])) not in allowed:
                raise self.refused(f"has {name} = {str(given)[:40]}, and Vesal {allowed[0]}")
        self.pass_over("dtype")
        return tuple(float(one) for one in steps)

    def window(self) -> Normalisation:
        low, high, bottom, top = (self.take(name) for name in ("a_min", "a_max", "b_min", "b_max"))
        numbers = all(isinstance(one, (int, float)) for one in (low, high, bottom, top))
        if self.take("clip", False) is not True or not numbers or not (low < high and bottom < top):
            raise self.refused("does not clip to a window with a lower and an upper end, as Vesal does")
        self.pass_over("dtype")
        if (bottom, top) == (0, 1):
            return Normalisation(scheme="window", lower=low, upper=high)
        slope = (top - bottom) / (high - low)
        if not 1 / _STEEPEST < slope < _STEEPEST:
            raise self.refused("brings a window to one that is narrower or wider beyond all numbers")
        return Normalisation(scheme="ct", lower=low, upper=high, mean=low - bottom / slope, std=1 / slope)

    def zscore(self, channels: int) -> Normalisation:
        nonzero, apart = self.take("nonzero", False), self.take("channel_wise", False)
        if self.take("subtrahend") is not None or self.take("divisor") is not None:
            raise self.refused("has a mean or a deviation of its own, and Vesal takes the scan's")
        if channels > 1 and not apart:
            raise self.refused("normalises all channels by one mean and deviation, and Vesal each by its own")
        self.pass_over("dtype")
        return Normalisation(scheme="zscore_nonzero" if nonzero else "zscore")


def _painted(step: Component, config: BundleConfig) -> tuple[tuple[int, int], ...]:
    """(output, value) of `lambda x: torch.where(x[[2]] > 0, 4, torch.where(...))`, which is read and not run."""
    text = step.arguments.get("func")
    refused = config.refusal(shown(text))
    if not isinstance(text, str) or text[:1] != "$":
        raise refused
    try:
        found = _painted_by(ast.parse(text[1:].strip(), mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise refused from error
    if found is None:
        raise refused
    return found


def _painted_by(whole: ast.expr) -> tuple[tuple[int, int], ...] | None:
    if not isinstance(whole, ast.Lambda) or len(whole.args.args) != 1:
        return None
    name, node, found = whole.args.args[0].arg, whole.body, []
    while not (isinstance(node, ast.Constant) and node.value == 0 and type(node.value) is int):
        branches = _branches(node, name)
        if branches is None:
            return None
        output, value, node = branches
        found.append((output, value))
    return tuple(found)


def _branches(node: ast.expr, name: str) -> tuple[int, int, ast.expr] | None:
    """(output, value, otherwise) of torch.where(NAME[[output]] > 0, value, otherwise); None of anything else."""
    if not isinstance(node, ast.Call) or ast.unparse(node.func) != "torch.where" or len(node.args) != 3:
        return None
    condition, value, otherwise = node.args
    if node.keywords or not isinstance(value, ast.Constant) or type(value.value) is not int:
        return None
    text = ast.unparse(condition)
    for output in range(32):
        if text in (f"{name}[[{output}]] > 0", f"{name}[{output}] > 0"):
            return output, value.value, otherwise
    return None


def channel_names(metadata: Mapping[str, Any], which: str, count: int) -> list[str] | None:
    """Names of a network's channels, by number, as configs/metadata.json has them; None where it does not say.

    Args:
        metadata: the file.
        which: inputs or outputs.
        count: of channels.

    Raises:
        VesalError: it names another number of them.
    """
    found: Any = metadata
    for key in ("network_data_format", which):
        found = found.get(key) if isinstance(found, dict) else None
    entries: Sequence[Any] = list(found.values()) if isinstance(found, dict) else []
    named = entries[0].get("channel_def") if entries and isinstance(entries[0], dict) else None
    if not isinstance(named, dict) or not named:
        return None
    names = [" ".join(str(named.get(str(number), "")).split())[:80] for number in range(len(named))]
    if len(named) != count or not all(names):
        raise VesalError(
            f"metadata.json names {len(named)} channels of the {which} and the network has {count}; get the bundle "
            "again."
        )
    return names
