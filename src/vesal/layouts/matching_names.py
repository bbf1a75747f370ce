"""Which image and which label belong together by their names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vesal.errors import DataError

IMAGE_WORDS = {
    "image", "images", "img", "imgs", "im", "ims", "imagestr", "scan", "scans", "volume", "volumes", "raw", "data",
    "input", "inputs",
}  # fmt: skip
LABEL_WORDS = {
    "label", "labels", "labelstr", "labelsts", "lbl", "mask", "masks", "seg", "segs", "segmentation", "segmentations",
    "gt", "truth", "groundtruth", "annotation", "annotations", "target", "targets", "manual",
}  # fmt: skip
#: In names of files; a folder of them holds no truth.
PREDICTION_WORDS = {"pred", "preds", "prediction", "predictions", "output", "outputs"}
#: All words that say what a file is.
ROLE_WORDS = IMAGE_WORDS | LABEL_WORDS | PREDICTION_WORDS
#: Names of folders that hold the cases of a part of the data set, those to train on first.
TRAIN_FOLDERS = ("train", "training", "traindata", "train_data")
SPLIT_FOLDERS = {*TRAIN_FOLDERS, "val", "valid", "validation", "test", "testing"}
#: Label words that do not name a folder or file of scans.
_SURE = LABEL_WORDS - {"target", "targets", "manual"}


def any_of(words: Iterable[str]) -> str:
    """A pattern that matches one of these words, the longest that fits."""
    return "|".join(sorted(words, key=len, reverse=True))


_LABEL = any_of(_SURE)
_LABEL_FILE = re.compile(
    rf"^({_LABEL})(?=[_\-. \d]|$)|(?:(?<=[_\-. \d])|^)({_LABEL})[_\-. ]?\d*$", re.IGNORECASE
)
#: Such a word that is glued to digits, as in img0001.
_GLUED = re.compile(rf"^({any_of(ROLE_WORDS)})(?=\d)|(?<=\d)({any_of(ROLE_WORDS)})$")


def match_names(images: Mapping[str, Path], labels: Mapping[str, Path]) -> dict[str, str]:
    """Name of an image -> name of its label: the same, or the same but for words such as _seg at the ends.

    A _0000 at the end is a number of the name where that finds a partner, else the channel.

    Raises:
        DataError: an image could belong to several labels, or several images to one.
    """
    partner = {name: name for name in images if name in labels}
    for numbered in (True, False):
        taken = set(partner.values())
        by_bare_name: dict[str, tuple[list[str], list[str]]] = {}
        for side, files in enumerate((images, labels)):
            for name in files:
                if name not in (taken if side else partner):
                    by_bare_name.setdefault(bare_name(name, numbered=numbered), ([], []))[side].append(name)
        for names, others in by_bare_name.values():
            if len(names) == len(others) == 1:
                partner[names[0]] = others[0]
            elif names and others:
                raise DataError(
                    f"{images[names[0]]} could belong to several labels or share one ({', '.join(names + others)}); "
                    "rename the files so that each has one partner, or write a manifest."
                )
    return partner


def bare_name(name: str, *, numbered: bool = False) -> str:
    """A name without the words at its ends that say what the file is; `numbered`: a _0000 is part of the name.

    >>> bare_name("patient_7_seg"), bare_name("volume-12"), bare_name("Segmentation-12"), bare_name("case3_0000")
    ('patient_7', '12', '12', 'case3')
    >>> bare_name("img0001"), bare_name("label0001"), bare_name("p01mask"), bare_name("x.seg"), bare_name("tr_im5")
    ('0001', '0001', 'p01', 'x', 'tr_5')
    """
    parts = re.split(r"([_\-. ]+)", name.lower() if numbered else re.sub(r"_0000$", "", name.lower()))
    while len(parts) > 2 and parts[-1] in ROLE_WORDS:
        parts = parts[:-2]
    while len(parts) > 2 and parts[0] in ROLE_WORDS:
        parts = parts[2:]
    # A word glued to a number inside, as in tr_im0, is no part of the name either.
    parts = [_GLUED.sub("", part) if number % 2 == 0 else part for number, part in enumerate(parts)]
    return "".join(parts)


def is_named_as_label(stem: str) -> bool:
    """Whether a file's name without its ending says that it is a label map, by a word at one of its ends.

    >>> [is_named_as_label(stem) for stem in ("p1_seg", "Segmentation-12", "label0001", "p01mask", "a.seg", "gt")]
    [True, True, True, True, True, True]
    >>> [is_named_as_label(stem) for stem in ("p1_t1", "brainmask", "unmasked_3", "targets")]
    [False, False, False, False]
    """
    return _LABEL_FILE.search(stem) is not None


def is_folder_of_labels(name: str) -> bool:
    """Whether a folder's name says that it holds label maps, and nothing else but which part of the data.

    >>> [is_folder_of_labels(name) for name in ("labelsTr", "labelsTs2", "ground_truth", "masks val", "manual seg")]
    [True, True, True, True, True]
    >>> [is_folder_of_labels(name) for name in ("train", "mask_study", "manual", "imagesTr", "images and labels")]
    [False, False, False, False, False]
    """
    words = [re.sub(r"(?<=.)(tr|ts|va|val|\d+)+$", "", word) for word in re.split(r"[_\-. ]+", name.lower())]
    parts = {"train", "training", "val", "validation", "test", "testing", "tr", "ts", "ground"}
    return bool(_SURE & set(words)) and set(words) <= LABEL_WORDS | parts


def words_in(name: str) -> set[str]:
    """The words of a folder's name in lower case, and all of them as one."""
    return set(re.split(r"[_\-. ]+", name.lower())) | {re.sub(r"[_\-. ]+", "", name.lower())}
