"""Write what the documents generate: the table of models, and the reference of the command.

    .venv/bin/python scripts/write_tables.py

`tests/test_docs.py` compares the files with `pages()`.
"""

import inspect
from pathlib import Path
from typing import Any

import anymask
from anymask.variants import VARIANTS, Variant

ROOT = Path(__file__).resolve().parents[1]
TABLES = ("README.md", "docs/concepts/models.md")  # hold the table between the two markers
REFERENCE = "docs/reference/cli.md"
START, END = "<!-- models -->", "<!-- /models -->"


def model_table() -> str:
    """The rows of `anymask.VARIANTS` as a Markdown table."""
    head = ("model", "parameters", "input", "weights", "licence", "what it is")
    rows = [head, ("---", "---:", "---:", "---", "---", "---"), *map(_row, VARIANTS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(row: Variant) -> tuple[str, ...]:
    asset = row.weights
    size = asset.bytes
    if asset.url is None:
        bundled = Path(anymask.__file__).parent / "weights" / asset.file
        size = bundled.stat().st_size if bundled.is_file() else None
    text = "bundled" if asset.url is None else f"[{asset.file}]({asset.url})"
    if size is not None:
        text += f", {size / 1e6:.0f} MB"
    return (
        f"`{row.name}`",
        f"{row.parameters / 1e6:.1f} M",
        f"{row.spec.side} px",
        text,
        row.licence,
        row.summary,
    )


def cli_reference() -> str:
    """Every command with its arguments and options, read from the command itself."""
    from anymask.cli import COMMANDS, build

    lines = [
        "# The command anymask",
        "",
        "<!-- written by scripts/write_tables.py; change the command, not this page -->",
        "",
        *_described(build([]), "anymask"),
    ]
    for row in COMMANDS:
        name, sub = row.name, build([row.name]).commands[row.name]
        lines += [f"## anymask {name}", "", *_described(sub, f"anymask {name}")]
        if row.examples:
            shown = (f"$ anymask {name} {example}".rstrip() for example in row.examples)
            lines += ["```console", *shown, "```", ""]
        for inner, leaf in _commands(sub):
            whole = f"anymask {name} {inner}"
            lines += [f"### {whole}", "", *_described(leaf, whole)]
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: Any) -> list[tuple[str, Any]]:
    """Visible commands of a group; none for a plain command."""
    found = getattr(group, "commands", {}).items()
    return [(name, command) for name, command in found if not command.hidden]


def _described(command: Any, name: str) -> list[str]:
    """Help, usage line and parameters of one command, as Markdown lines."""
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    help_text = inspect.cleandoc(command.help or "").split("\f")[0]
    lines = [_prose(help_text), "", "```", usage, "```", ""]
    records = [
        parameter.get_help_record(context)
        for parameter in command.get_params(context)
        if parameter.name != "help"
    ]
    rows = [
        f"| `{_cell(names)}` | {_prose(_cell(text))} |" for names, text in filter(None, records)
    ]
    if rows:
        lines += ["| argument or option | meaning |", "|---|---|", *rows, ""]
    return lines


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _prose(text: str) -> str:
    """Text outside code: what looks like a tag is no tag."""
    return text.replace("<", "\\<")


def with_table(text: str) -> str:
    """The page with the table of models between its markers."""
    before, rest = text.split(START, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{START}\n{model_table()}\n{END}{after}"


def pages() -> dict[Path, str]:
    """What each page that holds something generated should read."""
    found = {ROOT / name: with_table((ROOT / name).read_text(encoding="utf-8")) for name in TABLES}
    return {**found, ROOT / REFERENCE: cli_reference()}


if __name__ == "__main__":
    for path, text in pages().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"written: {path.relative_to(ROOT)}")
