"""Tables as a terminal shows them."""

import io
from typing import Any

from rich.console import Console


def printed_table(table: Any, width: int = 80) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()
