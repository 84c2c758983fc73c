"""The report: one valid page that needs nothing else, with what was found and when not to believe it."""

from __future__ import annotations

import re
import shutil
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tomli_w
import xarray as xr
from matplotlib.figure import Figure

from mcmc.analysis import Results, load, markup, plots, report
from mcmc.cli import run_command
from mcmc.errors import StorageError
from mcmc.storage import RunDirectory
from running import tables
from synthetic import synthetic

DATA = Path(__file__).parent / "data"
VOID = {"meta", "img"}
PHRASING = {"p", "h1", "h2", "h3", "pre", "title", "figcaption", "a", "strong", "th", "td"}
"""Elements of ours that hold text and no blocks."""
INSIDE = {"li": {"ul"}, "tr": {"thead", "tbody"}, "td": {"tr"}, "th": {"tr"}, "tbody": {"table"}, "thead": {"table"}}
SECTIONS = ["Verdict", "Results", "Free energy", "Exchange", "Pictures", "Run file", "All settings", "Provenance"]


class Page(HTMLParser):
    """Reads a page, and raises AssertionError for what is invalid or leads out of it."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[tuple[str, bytes]] = []
        self.texts: dict[str, list[str]] = {}
        """By tag of the element that they are in, one for each element."""
        self.tables: list[list[list[str]]] = []
        self.classes: list[str] = []
        text = page.decode("utf-8")
        assert text.startswith("<!DOCTYPE html>\n<html")
        self.feed(text)
        self.close()
        assert self.open == [], "not closed"
        assert len(set(self.ids)) == len(self.ids), "an id twice"
        assert {link.removeprefix("#") for link in self.links} <= set(self.ids), "a link to nothing"
        for rows in self.tables:
            assert len({len(row) for row in rows}) == 1, "rows of different lengths"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        assert tag not in ("script", "link", "iframe", "object", "embed", "base"), tag
        assert not any(name.startswith("on") or name == "style" for name in found), found
        assert not (self.open and self.open[-1] in PHRASING and tag not in ("strong", "a")), f"{tag} in {self.open}"
        assert tag not in INSIDE or self.open[-1] in INSIDE[tag], f"{tag} in {self.open}"
        self.ids += [found["id"]] if "id" in found else []
        self.classes += (found.get("class") or "").split()
        if "href" in found:
            assert found["href"].startswith("#"), found
            self.links.append(found["href"])
        if tag == "img":
            assert found["alt"]
            kind, _, content = found["src"].partition(";base64,")
            assert kind.startswith("data:image/"), kind
            self.images.append((kind.removeprefix("data:image/"), b64decode(content, validate=True)))
        else:
            assert "src" not in found
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if not self.open:
            assert data.strip() == "", data
            return
        if self.open[-1] == "style":
            assert not re.search(r"url\(|@import", data)
        self.texts[self.open[-1]][-1] += data
        if self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return "\n".join(text for tag, texts in self.texts.items() if tag != "style" for text in texts)


@pytest.mark.parametrize(
    "body",
    [
        '<p id="a"></p><p id="a"></p>',
        '<a href="#nowhere">x</a>',
        '<a href="http://localhost">x</a>',
        "<script></script>",
        '<img src="picture.png" alt="x">',
        "<p><ul></ul></p>",
        "<p>",
        "<table><tbody><tr><td></td></tr><tr></tr></tbody></table>",
        "<style>@import 'x.css'</style>",
    ],
)
def test_the_check_sees_what_is_wrong(body: str) -> None:
    """The negative control; without the body the page is fine."""
    page = "<!DOCTYPE html>\n<html><body>{}</body></html>"
    Page(page.format("<p>x</p>").encode())
    with pytest.raises((AssertionError, ValueError)):
        Page(page.format(body).encode())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One picture without anything in it for those that a run has."""
    monkeypatch.setattr(report, "figures", lambda results: {"empty": (Figure(figsize=(1, 1)), "Nothing & more.")})


def test_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in a directory, with two of its own pictures, by the command."""
    monkeypatch.setattr(plots, "PICTURES", {name: plots.PICTURES[name] for name in ("overview", "traces")})
    shutil.copytree(DATA / "version-1", tmp_path / "run")
    (tmp_path / "run" / "run.log").write_text("2026-01-01 2 ranks on node1 & node2\n")
    assert run_command(["report", str(tmp_path / "run")]) == 0
    page = Page((tmp_path / "run" / "report.html").read_bytes())
    results = load(tmp_path / "run")
    summary = results.summary()
    assert page.texts["h2"] == SECTIONS == page.texts["a"]
    assert page.tables[0] == summary.cells()
    assert page.tables[1] == [[cell.strip() for cell in row] for row in summary.cells_of_errors()]
    assert results.dataset.attrs["run_toml"] in page.texts["pre"]
    assert "2026-01-01 2 ranks on node1 & node2" in page.texts["pre"]
    assert [kind for kind, _ in page.images] == ["svg+xml"] * 2
    for _, image in page.images:
        assert ElementTree.fromstring(image).tag.endswith("svg")
    settings = {key: rest for key, *rest in next(rows for rows in page.tables if rows[0][0] == "key")[1:]}
    assert settings["model.n_inputs"] == [str(results.config["model"]["n_inputs"]), "run file"]
    assert settings["sampler.order"] == ['"random"', "default"]
    assert page.texts["h1"] == ["run"]
    facts = dict(next(rows for rows in page.tables if rows[0] == ["what", "value"])[1:])
    assert facts["mcmc_version"] == results.dataset.attrs["mcmc_version"]
    assert facts["state"] == "complete"
    assert facts["directory"] == str((tmp_path / "run").resolve())
    assert list((tmp_path / "run").glob(".report*")) == []  # nothing temporary is left


def planted() -> xr.Dataset:
    """Two starts that differ in energy, and a way to beta = 0."""
    data = synthetic(beta=(0.0, 0.5, 1.0), n_samples=400, n_copies=4)
    data["energy"][{"copy": slice(2, None)}] += 20.0
    data["start"] = ("copy",), ["random", "random", "teacher", "teacher"]
    return data


def unfinished() -> xr.Dataset:
    data = synthetic(n_samples=50)
    data.attrs["complete"] = 0
    return data


def without_exchange() -> xr.Dataset:
    return synthetic(n_samples=200).drop_vars(["exchange_proposed", "exchange_accepted"])


CASES = {
    "two starts": (planted, ["Copies from random starts", "Copies from the teacher", "no averages of equilibrium"]),
    "unfinished": (unfinished, ["The run is not complete", "instances of the disorder: 1", "errors are thermal"]),
    "without exchange": (without_exchange, ["every walker stays on its rung"]),
    "one rung, one copy": (
        lambda: synthetic(n_samples=5, n_copies=1, beta=(1.0,), source="random"),
        ["random labels", "inverse temperature 1;", "the run is too short"],
    ),
    "units": (
        lambda: synthetic(n_samples=200, architecture="committee", n_hidden=3, n_weights=303, n_instances=3),
        ["committee of 3 units with ±1 weights, 303 weights", "q_al, R_al: as q and R", "Errors apart"],
    ),
}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_run(case: str) -> None:
    make, said = CASES[case]
    results = Results(make())
    page = Page(report.of_run(results))
    for words in said:
        assert words in page.text
    summary = results.summary()
    assert summary.verdict.replace(" ", "-") in page.classes
    assert ("Exchange" in page.texts["h2"]) == (len(summary.rungs) > 1)
    assert "All settings" not in page.texts["h2"]  # nobody said
    assert all(note in page.text for note in summary.notes)
    assert all(line in page.text for line in summary.exchange.advice)
    for _, reason, _ in summary.reasons:
        assert reason.partition(" (R-hat")[0] in page.text


@pytest.mark.usefixtures("small")
def test_reasons_are_told_once() -> None:
    """The worst first, with the range of R-hat and of beta."""
    data = synthetic(n_samples=400, beta=(0.25, 0.5, 0.75, 1.0, 1.25))
    for rung in (1, 2, 3):
        data["energy"][{"copy": 1, "rung": rung}] += 10.0 * rung
    results = Results(data)
    found = [rung.r_hat for rung in results.summary().rungs[1:4]]
    first = Page(report.of_run(results)).texts["li"][0]
    expected = f": copies differ in energy (R-hat {found[0]:.2g} to {found[2]:.2g}); beta = 0.5 to 1"
    assert first == expected
    assert f"\n  stuck{expected}\n" in results.summary().table()
    assert len(set(map("{:.2g}".format, found))) == 3  # else there would be nothing to put together


@pytest.mark.usefixtures("small")
def test_free_energies_are_those_of_the_summary() -> None:
    results = Results(synthetic(beta=(0.0, 0.5, 1.0), n_samples=400, n_instances=2))
    page = Page(report.of_run(results))
    ((names, *rows),) = [rows for rows in page.tables if "mbar" in rows[0]]
    cells = results.summary().cells()
    for name in ("lnZ", "s"):
        expected = [row[cells[0].index(name)] for row in cells[1:]]
        assert [row[names.index(name)] for row in rows] == expected


@pytest.mark.usefixtures("small")
def test_nothing_is_markup_but_ours() -> None:
    """What users and machines write may look like HTML, hold quotes and bytes that are no text."""
    data = synthetic(n_samples=20)
    evil = "</pre><script>alert('&amp;')</script><img src=x onerror=\"x\">"
    data.attrs["run_toml"] += f"# {evil}\n"
    data.attrs["mcmc_version"] = f"\x00{evil}\udce9"
    page = Page(report.of_run(Results(data, Path("/nowhere/a<b>&\udce9"))))
    assert data.attrs["run_toml"] in page.texts["pre"]
    assert f"\ufffd{evil}?" in page.texts["td"]
    assert page.texts["h1"] == ["a<b>&?"]


def test_large_pictures_are_bitmaps() -> None:
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    small = markup.picture(figure, "few points")
    axes.plot(np.random.default_rng(1).normal(size=20000), "x")
    large = markup.picture(figure, "many points")
    sources = [found.find("img").get("src") for found in (small, large)]
    assert [source.partition(";")[0] for source in sources] == ["data:image/svg+xml", "data:image/png"]
    assert b64decode(sources[1].partition(",")[2]).startswith(b"\x89PNG")


@pytest.mark.usefixtures("small")
def test_the_page_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, path = Results(synthetic(n_samples=20)), tmp_path / "report.html"
    path.write_text("before")
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(StorageError, match="No space left"):
            report.write(results, path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    report.write(results, path)
    Page(path.read_bytes())


# --- the command ---


@pytest.mark.usefixtures("small")
def test_a_run_that_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = DATA / "version-2" / "ising-metropolis"
    assert run_command(["report", str(directory), "-o", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'page.html'}\n"
    assert "rows up to sweep 48 of 72" in Page((tmp_path / "page.html").read_bytes()).text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent"], "no such directory"),
        (["run", "-o", "."], "which is a directory"),
        (["run", "-o", "absent/page.html"], "in a directory that exists"),
    ],
)
def test_wrong_use(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(DATA / "version-1", tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert run_command(["report", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.html"))


def test_scan(tmp_path: Path) -> None:
    """Three tasks: complete, complete but damaged since, and new."""
    scan = {"data.alpha": [0.5, 1.0], "model.loss.name": ["error-count", "hinge"]}
    text = tomli_w.dumps(tables() | {"scan": scan})
    (tmp_path / "scan.toml").write_text(text)
    out = tmp_path / "out"
    command = ["scan", str(tmp_path / "scan.toml"), "-o", str(out), "--quiet"]
    assert [run_command([*command, "--task", str(task)]) for task in (0, 1, 2)] == [0, 0, 0]
    damaged = next(path for path in out.iterdir() if path.name.endswith("alpha=0.5,name=hinge"))
    (damaged / "results.h5").write_bytes(b"no longer")
    assert run_command(["report", str(out)]) == 0
    page = Page((out / "report.html").read_bytes())
    ((names, *rows),) = page.tables
    assert names[:4] == ["alpha", "name", "state", "verdict"]
    assert [row[:3] for row in rows] == [
        ["0.5", "error-count", "complete"],
        ["0.5", "hinge", "complete"],
        ["1.0", "error-count", "complete"],
        ["1.0", "hinge", "new"],
    ]
    first = load(out / "alpha=0.5,name=error-count").summary()
    assert rows[0][3] == first.verdict
    assert rows[0][names.index("E/P")] == first.cells()[-1][1]
    assert "results.h5" in rows[1][-1]
    assert rows[3][3:] == [""] * len(rows[3][3:])
    assert len(page.images) == 1  # the map of alpha and name
    assert text in page.texts["pre"]
    assert RunDirectory(out / "alpha=1.0,name=hinge").run_toml() is None  # only looked at


def test_a_scan_of_several_units_has_the_overlaps_of_their_best_order() -> None:
    """As the tables of its runs; of units taken one by one the copies would look unlike."""
    found = Results(synthetic(architecture="committee", n_hidden=3, n_weights=303)).summary()
    task = report.Task({"seed": "1"}, "seed=1", "complete", found, "")
    page = Page(report.of_scan(Path("scan"), [task], {}, "[scan]\n"))
    ((names, row),) = page.tables
    headings, *_, coldest = found.cells()
    for name in ("E/P", "q_al", "R_al"):
        assert row[names.index(name)] == coldest[headings.index(name)]
    assert not {"q", "R"} & set(names)


@pytest.mark.parametrize(("method", "doubt"), [("langevin", "biased by its step size"), ("metropolis", "")])
def test_what_is_not_proven_is_a_doubt(method: str, doubt: str) -> None:
    """Two starts that agree, at one beta with ln Z, in several instances: nothing else is to be doubted."""
    data = synthetic(n_instances=3, n_copies=4, beta=(0.0,), n_samples=2000)
    data["start"] = ("copy", ["random", "random", "teacher", "teacher"])
    data.attrs["run_toml"] += f'[sampler]\nmethod = "{method}"\n'
    results = Results(data)
    assert results.summary().verdict == ("not contradicted" if doubt else "equilibrated")
    text = Page(report.of_run(results)).text
    assert ("Nothing known to doubt." in text) == (not doubt)
    assert not doubt or f"Not proven to be in equilibrium at beta = 0: the method is {doubt}" in text
