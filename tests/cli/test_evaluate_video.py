"""`anymask evaluate --task video`: clips in, figures out."""

import json
from pathlib import Path

import numpy as np
import pytest

from anymask.cli import main
from anymask.formats.davis import davis_png
from tiny_video import SIZE, tiny_video_model, write_clip


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip whose true masks are its square, and a model that is there at once."""
    monkeypatch.setattr("anymask.model.load", lambda *_, **__: tiny_video_model())
    (tmp_path / "walk" / "Annotations").mkdir(parents=True)
    write_clip(tmp_path / "walk" / "JPEGImages", 4)
    for t in range(4):
        labels = np.zeros(SIZE, np.uint8)
        labels[12:32, 4 + 5 * t : 24 + 5 * t] = 2
        (tmp_path / "walk" / "Annotations" / f"{t:05d}.png").write_bytes(davis_png(labels))
    return tmp_path / "walk"


def test_the_figures_are_written_as_asked(clip, tmp_path, capsys):
    code = main(["evaluate", "--task", "video", str(clip), "--json", str(tmp_path / "f.json")])
    printed = capsys.readouterr().out
    assert code == 0 and "walk" in printed and "flow" in printed
    table = json.loads((tmp_path / "f.json").read_text())
    assert {"mean", "clips"} <= set(table) and {"J&F", "J", "F"} <= set(table["mean"])
    walk = table["clips"]["walk"]
    assert walk["frames"] == 4 and set(walk["each"]) == {"2"}
    assert walk["J&F"] == pytest.approx((walk["J"] + walk["F"]) / 2)
    # the held square: moved by 5 and 10 of its 20 px
    held = table["baselines"]["hold"]["clips"]["walk"]
    assert held["J"] == pytest.approx((15 / 25 + 10 / 30) / 2)


def test_l08_json_on_stdout_without_baselines(clip, capsys):
    code = main(["evaluate", "--task", "video", str(clip), "--no-baselines", "--json", "-"])
    table = json.loads(capsys.readouterr().out)
    assert code == 0 and table["baselines"] == {}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{clip}", "{clip}"], 3, "clip-twice"),
        (["{clip}/Annotations"], 3, "clips-none"),
        (["{clip}/gone"], 3, "set-missing"),
        (["{clip}", "--limit", "2"], 3, "clip-short"),
        (["{clip}", "--report", "{clip}/report"], 2, "--report"),
    ],
)
def test_what_cannot_be_judged_is_refused(clip, capsys, arguments, code, says):
    words = [word.format(clip=clip) for word in arguments]
    found = main(["evaluate", "--task", "video", *words])
    captured = capsys.readouterr()
    assert found == code and says in captured.err + captured.out


def test_a_frame_without_a_mask_is_named(clip, capsys):
    (clip / "Annotations" / "00002.png").unlink()
    assert main(["evaluate", "--task", "video", str(clip)]) == 3
    assert "clip-unmarked" in capsys.readouterr().err
