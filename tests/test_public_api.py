"""The public names: what users may rely on. A name that goes away fails here first."""

import ast
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import anymask

# name: the parameters a caller may use, in order ("*" opens those given by name alone)
CALLS = {
    "load": "name * checkpoint device dtype",
    "finetune": "data output * model checkpoint method minutes held_out group seed device force",
    "load_detector": "name * weights device",
    "open_frames": "source * letterbox start stop step rate range max_pixels threads",
    "Frames.read": "self index",
    "Frames.facts": "self index",
    "read_image": "source * partial frame background range bands layout max_pixels",
    "ImagePredictor": "model * cache zoom",
    "ImagePredictor.encode": "self image",
    "ImagePredictor.predict": "self embedding * points labels boxes masks multimask clip",
    "ImageEmbedding.save": "self path",
    "ImageEmbedding.load": "path",
    "Masks.from_bits": "bits scores",
    "Masks.keep": "self index",
    "MaskGenerator.generate": "self image * roi",
    "MaskGenerator.generate_many": "self images * together",
    "TextPredictor": "model detector * settings",
    "TextPredictor.predict": "self image text * tiles",
    "TiledPredictor": "model * tile overlap",
    "VideoPredictor": "model * max_prompted stride keep_bytes",
    "VideoPredictor.start": "self source * count letterbox",
    "VideoPredictor.resume": "self source path * letterbox",
    "VideoSession.prompt": "self frame object_id * points labels boxes masks add clip",
    "VideoSession.propagate": "self start stop * reverse",
    "VideoSession.step": "self frame",
    "VideoSession.clear": "self frame object_id",
    "VideoSession.remove": "self object_id",
    "VideoSession.save": "self path * overwrite",
    "TiledPredictor.predict": "self image * points labels boxes clip",
}
NAMES = {
    "AnymaskError",
    "AnymaskWarning",
    "FrameMasks",
    "Frames",
    "GeneratedMasks",
    "ImageEmbedding",
    "ImagePredictor",
    "MaskGenerator",
    "Masks",
    "Model",
    "Note",
    "Prediction",
    "Prompts",
    "TextMasks",
    "TextPredictor",
    "TiledPredictor",
    "VARIANTS",
    "Variant",
    "VideoPredictor",
    "VideoSession",
    "finetune",
    "load",
    "load_detector",
    "open_frames",
    "read_image",
}


def test_the_public_names_are_these():
    assert set(anymask.__all__) == NAMES
    assert anymask._HOME.keys() == NAMES
    assert set(dir(anymask)) == {*NAMES, "__version__"}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_public_name_comes_from_its_home(name):
    value = getattr(anymask, name)
    home = anymask._HOME[name]
    assert getattr(sys.modules[home], name) is value


def test_type_checkers_read_the_same_homes():
    tree = ast.parse(Path(anymask.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == anymask._HOME


def test_an_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(AttributeError, match=r"no 'segment'.*ImagePredictor.*read_image"):
        _ = anymask.segment


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_call_keeps_its_parameters(name):
    value = anymask
    for part in name.split("."):
        value = getattr(value, part)
    parameters = inspect.signature(value).parameters.values()
    found, starred = [], False
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            found.append("*")
        found.append(parameter.name)
    asked = CALLS[name].split()
    assert found[: len(asked)] == asked


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_public_thing_says_what_it_is(name):
    value = getattr(anymask, name)
    if callable(value) and typing.get_origin(value) is None:
        assert value.__doc__ and len(value.__doc__.split()) > 3


def test_the_version_is_the_one_of_the_package():
    root = Path(__file__).parents[1]
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert anymask.__version__ == project["version"]


def test_star_import_gives_the_public_names_and_warns_of_nothing():
    code = "from anymask import *; print(load.__name__, read_image.__name__)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["load", "read_image"], done.stderr
