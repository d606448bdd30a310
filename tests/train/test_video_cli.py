"""`anymask train` for a config of videos."""

import csv
from pathlib import Path

import pytest
from small_clips import small_video_config

from anymask.cli import main
from anymask.errors import DataError
from anymask.train.config import to_table
from anymask.train.video_config import about_videos, read_video_config


def write_config(root: Path) -> Path:
    table = to_table(small_video_config(root, steps=2, judge_every=2))
    pace, kinds = table.pop("pace"), table.pop("kinds")
    lines = [f"{key} = {_toml(value)}" for key, value in table.items()]
    for kind in kinds:
        lines += ["[[kinds]]", *(f"{k} = {_toml(v)}" for k, v in kind.items())]
    lines += ["[pace]", *(f"{k} = {_toml(v)}" for k, v in pace.items())]
    path = root / "run.toml"
    path.write_text("\n".join(lines))
    return path


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def test_a_run_from_the_terminal_looks_at_the_clips_held_out_and_is_bundled(tmp_path, capsys):
    config = write_config(tmp_path)
    assert main(["train", str(config)]) == 0
    shown = capsys.readouterr()
    assert "step 2 of 2" in shown.err and "clips held out: J&F" in shown.err
    with (tmp_path / "run" / "judged.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert 0 <= float(row["J&F"]) <= 1
    assert main(["train", str(config), "--bundle", str(tmp_path / "m.safetensors")]) == 0
    assert (tmp_path / "m.safetensors").stat().st_size < 500_000


def test_a_config_of_videos_is_known_by_its_clips_and_every_key_is_checked(tmp_path):
    config = write_config(tmp_path)
    assert about_videos(config) and not about_videos(Path("configs/nano.toml"))
    assert read_video_config(config, ["pace.lr=1e-2"]).pace.lr == 0.01
    with pytest.raises(DataError, match="config-key"):
        read_video_config(config, ["pace.rate=1e-2"])
    with pytest.raises(DataError, match="config-value"):
        read_video_config(config, ["steps=many"])


def test_the_config_that_made_the_bundled_memory_holds_a_third_of_the_clips_out():
    config = read_video_config(Path("configs/nano-video.toml"))
    assert len(config.held_out) == 10
