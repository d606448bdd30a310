"""A report's folder: a page that names every picture, the same bytes every time."""

import json
import re

import cv2
import numpy as np
import pytest
from growing import Grows, detail, one_photo

from anymask.errors import OutputError
from anymask.evaluate.detail_page import detail_plots, detail_remarks
from anymask.evaluate.detail_report import Judged
from anymask.evaluate.edge_metrics import count_edges
from anymask.evaluate.edges import EdgeReport
from anymask.evaluate.interactive import evaluate_interactive
from anymask.evaluate.plots import Plot, Series, binned, draw
from anymask.evaluate.report_folder import check_report_folder, write_report
from anymask.evaluate.sheets import sheets_of, show


@pytest.fixture
def photo(tmp_path):
    return one_photo(tmp_path / "x")


def judged(photo):
    return evaluate_interactive(Grows(), [photo], split="all", baselines=False, noc=True)


def test_a_page_names_every_picture_and_holds_every_figure(photo, tmp_path):
    report = judged(photo)
    folder = tmp_path / "out" / "report"
    names = write_report(
        folder, report, title="nano: *all*", sheets=sheets_of(report, [photo]), about="A command."
    )
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    page = (folder / "report.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^]]*\]\(([^)]*)\)", page)
    assert sorted(shown) == sorted(name for name in names if name.endswith(".png"))
    assert {"clicks.png", "areas.png", "scores.png", "sheet-00-box-worst.png"} <= set(shown)
    assert page.startswith("# nano: \\*all\\*\n\nA command.\n\n| |")
    assert "noc85 9" in page and "More clicks never make the mean worse." in page
    assert json.loads((folder / "report.json").read_text()) == report.to_dict()
    for name in shown:
        assert cv2.imread(str(folder / name)).shape[2] == 3


def test_the_same_report_gives_the_same_bytes(photo, tmp_path):
    for name in ("a", "b"):
        report = judged(photo)
        write_report(tmp_path / name, report, title="x", sheets=sheets_of(report, [photo]))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_a_report_that_is_there_stays_unless_it_may_go(tmp_path):
    report = EdgeReport(sets=(), counts=())
    write_report(tmp_path, report, title="first")
    before = (tmp_path / "report.md").read_bytes()
    with pytest.raises(OutputError) as error:
        check_report_folder(tmp_path, overwrite=False)
    assert error.value.code == "file-exists"
    with pytest.raises(OutputError):
        write_report(tmp_path, report, title="second")
    assert (tmp_path / "report.md").read_bytes() == before
    check_report_folder(tmp_path, overwrite=True)
    write_report(tmp_path, report, title="second", overwrite=True)
    assert (tmp_path / "report.md").read_text().startswith("# second")


def test_a_file_in_the_way_is_told_before_the_work(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(OutputError) as error:
        check_report_folder(tmp_path / "x", overwrite=True)
    assert error.value.code == "not-a-folder"


def test_without_matplotlib_the_page_says_so_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr("anymask.evaluate.report_folder.can_draw", lambda: False)
    line = np.eye(20, dtype=np.float32)
    report = EdgeReport(sets=("x",), counts=(count_edges(line, [line > 0], name="x"),))
    names = write_report(tmp_path, report, title="x")
    assert names == ("report.json", "report.md")
    assert "pip install 'anymask[train]'" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    "plot",
    [
        Plot(
            name="a", title="100 $ a mask", x_label="x", y_label="y",
            series=(Series(label="", x=(0, 1), y=(0.5, float("nan"))),),
        ),
        Plot(
            name="b", title="bars", x_label="", y_label="", ticks=("a very long name", "b"),
            series=tuple(Series(label=c, x=(0, 1), y=(1, 2), style="bars") for c in "pq"),
            y_range=None,
        ),
        Plot(
            name="c", title="", x_label="", y_label="", unit=True,
            series=(Series(label="dots", x=(0.1,) * 99, y=(0.2,) * 99, style="dots"),),
        ),
    ],
    ids=lambda plot: plot.name,
)  # fmt: skip
def test_plots_are_pictures_whatever_the_users_settings(plot, monkeypatch):
    import matplotlib

    plain = draw(plot)
    with matplotlib.rc_context({"figure.facecolor": "red", "axes.linewidth": 9}):
        assert draw(plot) == plain
    pixels = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (462, 660, 3)
    assert (pixels != 255).mean() > 0.01


def test_means_of_bins_lie_where_their_numbers_do():
    assert binned([0.05, 0.15, 1.0], [0, 1, 0.5]) == ((0.05, 0.15, 1.0), (0, 1, 0.5))
    assert binned([], []) == ((), ())


def test_nothing_judged_is_no_plot_and_no_remark():
    assert detail_plots([]) == () and detail_remarks([]) == ""
    assert EdgeReport(sets=(), counts=()).plots() == ()


def test_a_mean_that_falls_is_told():
    text = detail_remarks([Judged(detail=detail(after=(0.9, 0.5)), box=0.5)])
    assert "It falls at 2." in text and "| too small | 1 | 1.000 | 1.000 |" in text


def test_a_tile_shows_the_truth_as_outline_and_the_answer_as_tint():
    pixels = np.full((200, 300, 3), 100, np.uint8)
    truth, found = np.zeros((2, 200, 300), bool)
    truth[50:90, 100:140] = True
    found[50:90, 100:120] = True
    tile = show(pixels, truth, found)
    assert tile.shape == (320, 320, 3)  # 1.8 times the object, enlarged
    inside = tile[100:220, 100:140]
    assert (inside[..., 0] > inside[..., 2] + 20).mean() > 0.9  # orange
    assert (tile[160, 200] == 100).all()  # missed: bare
    assert ((tile == (40, 230, 90)).all(-1)).sum() > 4 * 150
    empty = np.zeros((200, 300), bool)
    assert show(pixels, empty, empty).shape == (213, 320, 3)
