"""Configs: every key checked, every mistake named."""

from pathlib import Path

import pytest

from anymask.errors import DataError
from anymask.train.config import read_config

REPO = Path(__file__).parents[2]
NANO = REPO / "configs" / "nano.toml"


def test_the_bundled_config_is_valid():
    config = read_config(NANO)
    assert config.kinds[0].side % 32 == 0 and len(config.kinds) == len(config.shares)


def test_a_change_on_the_command_line_wins():
    config = read_config(NANO, ["optim.lr=1e-4", "seed=7", "out=elsewhere"])
    assert (config.optim.lr, config.seed, config.out) == (1e-4, 7, "elsewhere")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("optim.lrr=1", "unknown key optim.lrr; Optim has lr"),
        ("steps=many", "int is wanted"),
        ("steps=true", "int is wanted"),
        ("data=7", "a list is wanted"),
        ("optim=3", "a table is wanted"),
        ("steps", "KEY=VALUE"),
        ("seed.x=1", "no keys of its own"),
    ],
)
def test_a_wrong_key_or_value_is_named(change, says):
    with pytest.raises(DataError, match=says.replace(".", r"\.")):
        read_config(NANO, [change])


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(DataError, match="config-missing"):
        read_config(tmp_path / "no.toml")
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(DataError, match="config-broken"):
        read_config(tmp_path / "bad.toml")
    (tmp_path / "few.toml").write_text("seed = 3")
    with pytest.raises(DataError, match="lacks"):
        read_config(tmp_path / "few.toml")
