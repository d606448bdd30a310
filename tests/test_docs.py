"""The documents say what is true: examples run, commands exist, tables are of today."""

import doctest
import importlib.util
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

import anymask

ROOT = Path(__file__).parents[1]
PACKAGE = Path(anymask.__file__).parent
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]
# Commands of the README that are run here; others need weights or data that do not come along.
RUN = ("segment", "models", "doctor")


def blocks(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    found = fenced.findall(page.read_text(encoding="utf-8"))
    return [block for name, block in found if name == language]


def typed_commands(page: Path) -> list[str]:
    """What a reader would type after the prompt, without `anymask`."""
    found = []
    for language in ("console", "sh", "bash"):
        for block in blocks(page, language):
            lines = block.replace("\\\n", " ").splitlines()
            found += re.findall(r"^(?:\$ )?anymask (.*?)(?:\s+#.*)?$", "\n".join(lines), re.M)
    return found


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def photo_here(tmp_path, monkeypatch) -> Path:
    """A working folder with the bundled cat as photo.jpg."""
    with Image.open(PACKAGE / "photos" / "chelsea.png") as cat:
        cat.convert("RGB").save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examples() -> Iterator[Any]:
    for page, name in zip(PAGES, PAGE_IDS, strict=True):
        for i, code in enumerate(blocks(page, "python")):
            yield pytest.param(code, id=f"{name}-{i}")


@pytest.mark.parametrize("code", list(examples()))
def test_a_python_example_runs(code, photo_here):
    exec(compile(code, "<example>", "exec"), {"__name__": "example"})


def test_the_readme_shows_python_and_fits_its_promise():
    (code,) = blocks(ROOT / "README.md", "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


@pytest.mark.parametrize(
    "line", [line for line in typed_commands(ROOT / "README.md") if line.split()[0] in RUN]
)
def test_a_command_of_the_readme_runs(line, photo_here):
    from anymask.cli import main

    assert main(shlex.split(line)) == 0
    if " -o " in line:
        folder = photo_here / line.split(" -o ")[1].split()[0]
        assert {".png", ".json"} <= {file.suffix for file in folder.rglob("*")}


def parse(command: Any, name: str, words: list[str]) -> None:
    """Follow the words to their command and parse them there; raises if one is unknown."""
    context = command.make_context(name, [], resilient_parsing=True)
    if hasattr(command, "commands"):
        if not words or words[0].startswith("-"):
            assert set(words) <= {"--help", "--version"}, f"{name}: {words}"
            return
        assert words[0] in command.commands, f"{name} has no command {words[0]}"
        parse(command.commands[words[0]], f"{name} {words[0]}", words[1:])
        return
    command.make_parser(context).parse_args(args=list(words))


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_a_command_that_a_page_shows_exists_with_its_options(page):
    from anymask.cli import build

    for line in typed_commands(page):
        words = shlex.split(line)
        parse(build(words), "anymask", words)


def test_a_page_that_is_generated_is_of_today():
    for page, text in load_script("write_tables").pages().items():
        assert page.read_text(encoding="utf-8") == text, (
            f"{page.relative_to(ROOT)} is out of date: run scripts/write_tables.py"
        )


def test_every_model_is_in_the_readme_and_every_command_in_the_reference():
    from anymask.cli import COMMANDS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{row.name}` |" in readme for row in anymask.VARIANTS)
    reference = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    assert all(f"\n## anymask {row.name}\n" in reference for row in COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_a_link_of_a_page_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


def test_every_page_of_the_docs_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\s+- (\S+\.md)$", navigation, re.MULTILINE))
    assert shown == {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}


def test_the_contributors_guide_names_every_part_of_the_package():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (tree,) = [block for block in blocks(ROOT / "CONTRIBUTING.md", "") if "src/anymask/" in block]
    told = set(re.findall(r"^ {2}([a-z_]+(?:\.py|/))", tree, re.MULTILINE))
    parts = {
        path.name + ("/" if path.is_dir() else "")
        for path in PACKAGE.iterdir()
        if not path.name.startswith((".", "__pycache__"))
        and path.name != "py.typed"
        and not re.match(r"(image|prompt|mask|frames?|variant|model)_", path.name)  # helpers
    }
    assert told == parts
    for folder in re.findall(r"^([a-z]+)/", tree, re.MULTILINE):
        assert (ROOT / folder).is_dir()
    assert "tests/test_imports.py" in guide


MODULES = sorted(
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    for file in PACKAGE.rglob("*.py")
    if ">>>" in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_an_example_in_a_docstring_gives_what_it_says(name):
    results = doctest.testmod(import_module(name))
    assert not results.failed
