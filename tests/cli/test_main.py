"""The command line as a whole: its table, its help, its exit codes."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import anymask
from anymask.cli import COMMANDS, main

NAMES = [row.name for row in COMMANDS]


def test_the_commands_are_those_of_the_manual() -> None:
    first = ["segment", "everything", "track", "convert", "models", "doctor"]
    assert [*first, "evaluate", "bench", "train", "finetune"] == NAMES


@pytest.mark.parametrize("row", COMMANDS, ids=NAMES)
def test_the_summary_in_the_list_is_what_the_commands_own_help_says(
    row, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert main([row.name, "--help"]) == 0
    own = capsys.readouterr().out
    assert row.summary in listed
    assert row.summary in own
    for example in row.examples:
        assert f"anymask {row.name} {example}".rstrip() in own


@pytest.mark.parametrize("row", COMMANDS, ids=NAMES)
def test_examples_of_options_name_options_that_exist(
    row, capsys: pytest.CaptureFixture[str]
) -> None:
    main([row.name, "--help"])
    own = capsys.readouterr().out.split("Examples:")[0]
    for word in " ".join(row.examples).split():
        if word.startswith("--"):
            assert word in own


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "anymask segment photo.jpg --point 500,375 -o out" in capsys.readouterr().out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"anymask {anymask.__version__}\n"


PROBE = """
import sys
from anymask.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "numpy", "cv2", "PIL"} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""


@pytest.mark.parametrize(
    "args", [["--help"], ["segment", "--help"], ["--version"], ["bench", "-h"]]
)
def test_help_starts_at_once_and_without_torch(args: list[str]) -> None:
    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    subprocess.run([sys.executable, "-c", PROBE, *args], check=True, capture_output=True)
    assert spent() - before <= 0.5  # s of the processor: the machine may be busy with other things


def test_python_m_anymask_is_the_same_command() -> None:
    command = [sys.executable, "-m", "anymask", "--version"]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    assert run.stdout == f"anymask {anymask.__version__}\n"


def test_a_shell_can_complete_commands_and_options(tmp_path: Path) -> None:
    for typed, wanted in (("anymask seg", "segment"), ("anymask segment --neg", "--negative")):
        environment = os.environ | {
            "_ANYMASK_COMPLETE": "complete_bash",
            "_TYPER_COMPLETE_ARGS": typed,
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split()) - 1),
        }
        command = [sys.executable, "-c", "import sys; from anymask.cli import main; main()"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert wanted in run.stdout, run.stderr
