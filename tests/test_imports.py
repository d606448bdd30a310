"""Who may import whom: every file of the package is held to the table below."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import anymask

PACKAGE = Path(anymask.__file__).parent

# A part is a folder, or a file at the top. The nouns are one part: image, prompts, masks, frame and
# variants, and helpers named after them (image_color, prompt_checks, mask_geometry ...). So is the
# model with its helpers (model_devices ...).
NOUN = re.compile(r"(image|prompt|mask|frame|variant|generated|detector|text)s?(_\w+)?")
MODEL = re.compile(r"model(_\w+)?")

# part: what it is built on. What those are built on is open to it too; `errors` is open to all
# parts but nn, and a part to itself.
BUILT_ON: dict[str, set[str]] = {
    "errors": set(),
    "nouns": set(),
    "nn": set(),
    "weights": {"nouns"},
    "model": {"nn", "weights", "nouns"},
    "formats": {"nouns"},
    "predict": {"nouns", "model"},
    "evaluate": {"predict", "formats"},
    "train": {"nn", "model", "formats", "evaluate"},
    "compat": {"predict", "formats"},
    "cli": {"train"},
    "__main__": {"cli"},
    "__init__": {"train"},  # the table of public names, and what type checkers read
}

# What comes from outside. Nouns load no torch; nn knows tensors and nothing else.
_ARRAYS = {"numpy", "PIL", "cv2", "pycocotools", "jaxtyping"}
OUTSIDE: dict[str, set[str]] = {
    "errors": set(),
    "nouns": {*_ARRAYS, "pillow_heif", "av"},
    "nn": {"torch", "jaxtyping"},
    "weights": {"torch", "jaxtyping", "safetensors", "pooch", "requests"},
    "model": {"torch", "jaxtyping", "numpy"},
    "formats": {*_ARRAYS, "av"},
    "predict": {*_ARRAYS, "torch", "safetensors"},
    "evaluate": {*_ARRAYS, "torch", "rich", "matplotlib"},
    "train": {*_ARRAYS, "torch", "safetensors", "accelerate", "matplotlib"},
    "compat": {*_ARRAYS, "torch"},
    "cli": {*_ARRAYS, "torch", "typer", "click", "rich"},
    "__main__": set(),
    "__init__": set(),
}


@dataclass(frozen=True)
class Import:
    """One name that a file imports."""

    file: Path
    line: int
    module: str  # dotted

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    @property
    def part(self) -> str:
        """The part of ours, `__init__` for the package itself, or an empty text."""
        names = self.module.split(".")
        if names[0] != "anymask":
            return ""
        return part(names[1] if len(names) > 1 else "__init__")

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE.parent)}:{self.line} imports {self.module}"


FILES = sorted(PACKAGE.rglob("*.py"))
IDS = [str(file.relative_to(PACKAGE)) for file in FILES]


def part(name: str) -> str:
    if MODEL.fullmatch(name):
        return "model"
    return "nouns" if NOUN.fullmatch(name) else name


def part_of(file: Path) -> str:
    return part(file.relative_to(PACKAGE).parts[0].removesuffix(".py"))


def imports_of(file: Path) -> Iterator[Import]:
    """All imports of a file, those inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports are absolute"
            if node.module != "anymask":
                yield Import(file, node.lineno, node.module or "")
                continue
            for alias in node.names:  # public names count as their homes
                here = "anymask" if alias.name == "__version__" else f"anymask.{alias.name}"
                yield Import(file, node.lineno, anymask._HOME.get(alias.name, here))


def open_to(name: str) -> set[str]:
    """The parts that a part may import: what it is built on, all the way down."""
    found: set[str] = set()
    waiting = list(BUILT_ON[name])
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting.extend(BUILT_ON[one])
    if name != "nn":
        found.add("errors")
    return found | {name}


def test_every_part_has_its_row_in_the_table():
    assert {part_of(file) for file in FILES} == BUILT_ON.keys() == OUTSIDE.keys()


def test_nothing_reaches_back():
    for name in BUILT_ON:
        for below in open_to(name) - {name}:
            assert name not in open_to(below), f"{name} and {below} are built on each other"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_a_file_imports_only_what_its_part_is_built_on(file):
    allowed = open_to(part_of(file))
    wrong = [
        str(one)
        for one in imports_of(file)
        if one.part and one.part not in allowed and one.module != "anymask"
    ]
    assert not wrong


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_a_file_imports_from_outside_only_what_its_part_needs(file):
    known = OUTSIDE[part_of(file)] | sys.stdlib_module_names | {"anymask"}
    wrong = [str(one) for one in imports_of(file) if one.top not in known]
    assert not wrong


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_the_package_itself_is_asked_for_version_and_place_alone(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    asked = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "anymask"
    }
    assert asked <= {"__version__", "__file__"}


def loaded_after(code: str) -> set[str]:
    """Top-level names in sys.modules of a new interpreter after the code has run."""
    code += "\nimport sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return set(done.stdout.split("\n")[-2].split())


def test_importing_the_package_loads_neither_torch_nor_numpy():
    assert not loaded_after("import anymask") & {"torch", "numpy", "PIL", "cv2", "typer"}


def test_the_nouns_and_the_formats_load_no_torch():
    modules = [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
        for file in FILES
        if part_of(file) in ("errors", "nouns", "formats") and file.stem != "__init__"
    ]
    assert "anymask.errors" in modules and "anymask.image" in modules
    code = "\n".join(f"import {module}" for module in modules)
    assert not loaded_after(code) & {"torch", "transformers", "typer"}


def test_the_terminal_and_its_commands_start_without_torch_and_arrays():
    code = """
from importlib import import_module
from anymask.cli import COMMANDS, main
for row in COMMANDS:
    row.load()
if main(["--help"]) or main(["segment", "--help"]):
    raise RuntimeError("help failed")
"""
    assert not loaded_after(code) & {"torch", "numpy", "PIL", "cv2"}


def test_test_files_have_names_of_their_own():
    """pytest imports them by their bare names: two of one name stop a whole run."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
