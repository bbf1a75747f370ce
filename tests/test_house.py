"""The rules of the house: sizes, names, imports, tests, and the page about the architecture.

A rule is a function of a repository's root that returns a sentence for each place that breaks it. Every rule is asked
about this repository, and about a small one that breaks it.
"""

from __future__ import annotations

import ast
import io
import re
import runpy
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARCHITECTURE = runpy.run_path(str(ROOT / "docs" / "draw_architecture.py"))
LINES, FUNCTION_LINES, PARAMETERS, FILES, QUESTIONS = 450, 60, 8, 14, 30
#: A module of more lines than these that defines a function has a test file of its own.
UNTESTED_LINES = 60
SHARED_STEMS = {"__init__", "__main__", "registry"}
#: Words of our own for what the field calls otherwise, as pieces of identifiers (`doubt` in `joint_doubt`), after the
#: folders where they are banned. In the name of a test, which is a sentence, in comments and in texts only the first
#: line's.
WORDS = """
src tests benchmarks: mend mends mended mending doubt doubts witness witnesses unlikeness battery sketch insides
src: unmendable told teller harmed inflict inflicted traits finer tally twins tomography judgement
augment evaluate workflow report: fault faults harm harms
augment evaluate/robustness workflow/robustness report: decay
audit: cohort
data preprocessing infer workflow: placement
volume: payload
train preprocessing: resident
infer train: signals
infer: soft steady advice
nn: comparison
run report: gather histories
convert workflow report cli: said
cli: finish stages
"""
#: Whole identifiers, and names of files.
NAMES = "Order Done Change Settled Opened Usual UsualRecord Line Extent Shape Bench Share Watch to_loss"
STEMS = """chance transfer coverage restore fitting placement payload scan reading cohort signals resident comparison
gather histories changes trust platform_run"""
#: Files of a run that have the name of a layout's file.
LAYOUT_FILES = {"dataset.json"}

Rule = Callable[[Path], list[str]]


def sources(root: Path, *folders: str) -> Iterator[tuple[str, str]]:
    """(path from the root, text) of all Python files in these folders."""
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")


def functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def no_file_is_long(root: Path) -> list[str]:
    counted = {name: text.count("\n") for name, text in sources(root, "src", "tests")}
    return [f"{name} has {lines} lines" for name, lines in counted.items() if lines > LINES]


def no_function_is_long(root: Path) -> list[str]:
    found = []
    for name, text in sources(root, "src"):
        for node in functions(text):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            found += [f"{name}: {node.name} has {lines} lines"] * (lines > FUNCTION_LINES)
    return found


def no_function_takes_the_world(root: Path) -> list[str]:
    """At most eight parameters; the command line is left out, where each is an option."""
    found = []
    for name, text in sources(root, "src"):
        for node in functions(text):
            given = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len(given) - (given[:1] in (["self"], ["cls"]))
            if count > PARAMETERS and not name.startswith("src/vesal/cli/"):
                found.append(f"{name}: {node.name} has {count} parameters")
    return found


def no_room_is_full(root: Path) -> list[str]:
    rooms: dict[str, int] = defaultdict(int)
    for name, _ in sources(root, "src"):
        rooms[Path(name).parent.as_posix()] += Path(name).stem != "__init__"
    return [f"{room} holds {count} files" for room, count in rooms.items() if count > FILES]


def no_name_of_a_file_stands_twice(root: Path) -> list[str]:
    stems: dict[str, list[str]] = defaultdict(list)
    for name, _ in sources(root, "src"):
        stems[Path(name).stem].append(name)
    return [
        f"{' and '.join(names)}"
        for stem, names in stems.items()
        if len(names) > 1 and stem not in SHARED_STEMS
    ]


def no_imports_run_in_a_circle(root: Path) -> list[str]:
    """What is left when all modules are taken away that import nothing of the rest, or that nothing of it imports."""
    graph: dict[str, set[str]] = ARCHITECTURE["imports"](root)
    while graph:
        used = set().union(*graph.values())
        ends = [module for module in graph if not graph[module] & set(graph) or module not in used]
        if not ends:
            return [f"a circle among {', '.join(sorted(graph))}"]
        for module in ends:
            del graph[module]
    return []


def banned_words(name: str) -> tuple[set[str], set[str]]:
    """(words that no identifier of this file has, those that not even the name of a test has)."""
    lines = [line.split(": ") for line in WORDS.strip().splitlines()]
    here = [
        set(words.split())
        for rooms, words in lines
        if any(f"/{room}/" in f"/{name}" for room in rooms.split())
    ]
    return set().union(*here), set(lines[0][1].split())


def no_word_of_our_own_comes_back(root: Path) -> list[str]:
    found: dict[str, None] = {}
    names, stems = set(NAMES.split()), set(STEMS.split())
    for name, text in sources(root, "src", "tests", "benchmarks"):
        words, sentences = banned_words(name)
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        stem = Path(name).stem.removeprefix("test_")
        for identifier in [stem, *(token.string for token in tokens if token.type == tokenize.NAME)]:
            pieces = {piece.lower() for piece in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)}
            if identifier in names or pieces & (sentences if identifier.startswith("test_") else words):
                found[f"{name}: {identifier}"] = None
        texts = [token.string for token in tokens if token.type in (tokenize.COMMENT, tokenize.STRING)]
        for word in set(re.findall(r"[a-z]+", " ".join(texts).lower())) & sentences:
            if name != "tests/test_house.py":
                found[f"{name}: '{word}' in a text"] = None
        if stem in stems:
            found[f"{name}: the name of the file"] = None
    return list(found)


def every_module_has_its_test(root: Path) -> list[str]:
    found = []
    for name, text in sources(root, "src"):
        inner = Path(name).relative_to("src/vesal")
        test = Path("tests") / inner.with_name(f"test_{inner.name}")
        logic = text.count("\n") > UNTESTED_LINES and any(functions(text))
        if logic and not (root / test).exists():
            found.append(f"{name} has no {test}")
    return found


def names_of_run_files_stand_in_one_file(root: Path) -> list[str]:
    def literals(text: str) -> set[str]:
        found = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        return {value for value in found if isinstance(value, str)}

    file = "src/vesal/run_files.py"
    names = {word for word in literals((root / file).read_text()) if re.fullmatch(r"[\w*-]+\.\w+", word)}
    return [
        f"{name}: {sorted(twice)}"
        for name, text in sources(root, "src")
        if name != file and (twice := literals(text) & (names - LAYOUT_FILES))
    ]


def the_page_of_the_architecture_is_right(root: Path) -> list[str]:
    """Its table answers enough questions; every file and symbol that it or CONTRIBUTING.md names is there."""
    page, guide = (
        (root / name).read_text(encoding="utf-8") for name in ("docs/architecture.md", "CONTRIBUTING.md")
    )
    rows = re.findall(r"^\|[^|]+\? \| \[`[^`]+`\]\(\.\./([^)]+)\) \| `(\w+)` \|$", page, re.MULTILINE)
    found = [f"{len(rows)} questions are answered"] * (len(rows) < QUESTIONS)
    named = re.findall(r"`(\w+(?:/\w+)*\.py)`", page) + re.findall(r"`((?:src|tests|docs)/[^`]+)`", guide)
    found += [
        f"{file} is not there"
        for file in named
        if not any((root / at / file).exists() for at in ("", "src/vesal"))
    ]
    for file, symbol in rows:
        text = (root / file).read_text(encoding="utf-8") if (root / file).exists() else ""
        if not re.search(rf"^ *(?:(?:def|class) {symbol}\b|{symbol}\s*[:=,])", text, re.MULTILINE):
            found.append(f"{file} has no {symbol}")
    if ARCHITECTURE["digest"](root) not in (root / "docs" / "architecture.svg").read_text():
        found.append("the picture is out of date: python docs/draw_architecture.py")
    return found


#: Each rule, and a repository that breaks it.
RULES: dict[Rule, dict[str, str]] = {
    no_file_is_long: {"src/vesal/a.py": "x = 1\n" * 451},
    no_function_is_long: {"src/vesal/a.py": "def f():\n" + "    x = 1\n" * 60},
    no_function_takes_the_world: {"src/vesal/a.py": "def f(a, b, c, d, e, *, f, g, h, i): ..."},
    no_room_is_full: {f"src/vesal/a/m{number}.py": "" for number in range(15)},
    no_name_of_a_file_stands_twice: {"src/vesal/a/m.py": "", "src/vesal/b/m.py": ""},
    no_imports_run_in_a_circle: {
        "src/vesal/a.py": "if TYPE_CHECKING:\n    from vesal import b",
        "src/vesal/b.py": "def f():\n    from vesal.a import x",
    },
    no_word_of_our_own_comes_back: {"src/vesal/a.py": "class MendedCase: ..."},
    every_module_has_its_test: {"src/vesal/a.py": "def f(): ...\n" * 101},
    names_of_run_files_stand_in_one_file: {
        "src/vesal/run_files.py": "PLAN = 'plan.json'",
        "src/vesal/a.py": "x = 'plan.json'",
    },
    the_page_of_the_architecture_is_right: {
        "docs/architecture.md": "| Where is it? | [`a.py`](../src/vesal/a.py) | `x` |",
        "docs/architecture.svg": "",
        "CONTRIBUTING.md": "See `tests/gone.py`.",
        "pyproject.toml": "[[tool.importlinter.contracts]]\nlayers = []",
    },
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rule(rule: Rule) -> None:
    found = rule(ROOT)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_that_is_broken_is_noticed(rule: Rule, tmp_path: Path) -> None:
    for name, text in RULES[rule].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert rule(tmp_path)


def test_a_word_is_banned_in_its_rooms_alone(tmp_path: Path) -> None:
    for room in ("audit", "evaluate"):
        (tmp_path / "src/vesal" / room).mkdir(parents=True)
        (tmp_path / "src/vesal" / room / "a.py").write_text("cohort = default = 1")
    assert no_word_of_our_own_comes_back(tmp_path) == ["src/vesal/audit/a.py: cohort"]
