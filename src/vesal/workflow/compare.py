"""Compare: from run folders and files of scores to a comparison, and its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vesal.errors import UsageError, VesalError
from vesal.evaluate.compare_text import comparison_markdown
from vesal.evaluate.paired_comparison import Comparison, Side, compare
from vesal.evaluate.scores import Scores
from vesal.files import write_json, write_text
from vesal.outputs import results
from vesal.report.pages.compare_page import write_comparison_page
from vesal.run.folder import Run
from vesal.run_files import COMPARISON, SCORES


def compare_runs(
    a: Sequence[str | Path],
    b: Sequence[str | Path],
    *,
    metric: str = "dice",
    names: Sequence[str] = ("A", "B"),
    out: Path | None = None,
) -> Comparison:
    """Compare two models by their scores on the same cases.

    Args:
        a, b: of either model, run folders, scores.json files, or folders that hold several of them: one a seed, or
            one a fold.
        metric: what is compared, a key of vesal.evaluate.case_scores.METRICS.
        names: of the two, in tables and sentences.
        out: takes comparison.json, comparison.md and comparison.html.

    Raises:
        UsageError: a path holds no scores, or the names are not two.
        DataError: the two cannot be compared.
    """
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise UsageError(f"--names gives two different names with a comma between, not '{','.join(names)}'.")
    found = compare(_side(names[0], a), _side(names[1], b), metric)
    if out is not None:
        with results(out, COMPARISON, "comparison.md", "comparison.html"):
            write_json(out / COMPARISON, found.to_dict())
            write_text(out / "comparison.md", comparison_markdown(found))
            write_comparison_page(out / "comparison.html", found)
    return found


def _side(name: str, places: Sequence[str | Path]) -> Side:
    files = [file for place in places for file in scores_files(Path(place))]
    if twice := [str(file) for index, file in enumerate(files) if file.resolve() in
                 [other.resolve() for other in files[:index]]]:  # fmt: skip
        raise UsageError(f"{twice[0]} is named twice for {name}; name each file of scores once.")
    return Side(
        name=name,
        scores=[Scores.load(file) for file in files],
        sources=[str(file.parent if file.name == SCORES else file) for file in files],
        folds=_folds(files[0].parent) if len(files) == 1 else None,
    )


def separate(places: Sequence[str | None]) -> list[str]:
    """Paths that were given one by one or with commas between; a path that holds a comma and exists is one.

    >>> separate(["seed0,seed1", None, "seed2"])
    ['seed0', 'seed1', 'seed2']
    """
    found: list[str] = []
    for place in places:
        if place is None:
            continue
        found += [place] if Path(place).exists() else [part for part in place.split(",") if part]
    return found


def scores_files(place: Path) -> list[Path]:
    """The files of scores that a path means: itself, its scores.json, or those of all folders and files in it.

    Raises:
        UsageError: it is not there, or holds none.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise UsageError(f"There is no {place}; name a run folder, a scores.json, or a folder of them.")
    if (place / SCORES).is_file():
        return [place / SCORES]
    below = sorted(place.glob(f"*/{SCORES}"))
    loose = sorted(path for path in place.glob("*.json") if not path.name.startswith("."))
    if found := below or loose:
        return found
    raise UsageError(f"{place} holds no scores.json; make it with vesal evaluate {place}.")


def _folds(folder: Path) -> dict[str, str] | None:
    """case -> fold whose training predicted it, of a run with several; None for anything else."""
    try:
        folds = Run(folder).folds()
    except VesalError:
        return None
    if folds is None or len(folds.parts) < 2:
        return None
    return {case: str(number) for number in range(len(folds.parts)) for case in folds.validation(number)}
