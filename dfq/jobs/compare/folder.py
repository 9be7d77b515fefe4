"""The folder of a comparison: tables, charts, a page that shows it while it runs, and a run folder for each cell."""

from pathlib import Path

from dfq.errors import DfqError
from dfq.evaluation.diversity import Diversity
from dfq.images.labelled import Labelled
from dfq.jobs.compare.documents import comma_separated, latex, markdown
from dfq.jobs.compare.live_page import write_live_page
from dfq.jobs.compare.plan import Cell, ComparisonPlan
from dfq.jobs.compare.plots import comparison_chart
from dfq.quantizers.targets import DEFAULT_TARGET
from dfq.results.diversity_plot import diversity_plot
from dfq.results.run_folder import RunFolder
from dfq.results.stored_files import read_json, write_json
from dfq.system.atomic_files import replacing
from dfq.system.content_hash import digest, digest_of
from dfq.system.output_paths import check_name, check_writable, contents
from dfq.system.reading import reading
from dfq.teacher import Teacher


class ComparisonFolder:
    """Knows the names of the files of a comparison, and reads and writes them.

    Attributes:
        path: The folder.
        content: `compare.json`, every figure, setting and version.
        table, latex, csv: `compare.md` and `compare.tex`, the tables, and `compare.csv`, a line for each run.
        chart, svg, pdf: `compare.png`, `.svg` and `.pdf`, the figures by column and by time.
        page: `compare.html`, which shows the comparison while it runs.
        diversity: `diversity.png`, how varied the images of each method are, for the first seed and the first column of
            the axis.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.content, self.page = self.path / "compare.json", self.path / "compare.html"
        self.table, self.latex, self.csv = (self.path / f"compare.{kind}" for kind in ("md", "tex", "csv"))
        self.chart, self.svg, self.pdf = (self.path / f"compare.{kind}" for kind in ("png", "svg", "pdf"))
        self.diversity = self.path / "diversity.png"

    @property
    def files(self) -> list[Path]:
        """All files of the folder itself."""
        return [value for value in vars(self).values() if isinstance(value, Path) and value != self.path]

    def run(self, cell: Cell) -> RunFolder:
        """Returns the run folder of a cell."""
        return RunFolder(self.path / "cells" / cell.name)

    def report(self, cell: Cell) -> dict | None:
        """Returns the content of a cell's `report.json`, which a run writes last; None where it has not finished."""
        path = self.run(cell).report
        return read_json(path) if path.exists() else None

    def check(self) -> None:
        """Raises `DfqError` if results cannot be written there, or if the folder holds something else."""
        check_name(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise DfqError(f"'{self.path}' is a file", "a folder for the results", "choose another with --out")
        check_writable(self.path)
        if contents(self.path) and not self.content.exists():
            raise DfqError(
                f"'{self.path}' is not empty and holds no comparison",
                "a new or an empty folder, or one that `dfq compare` wrote",
                "choose another with --out",
            )

    def check_same(self, conditions: dict) -> None:
        """Raises `DfqError` if the cells in the folder were made under other conditions (`make_conditions`)."""
        if not self.content.exists():
            return
        before = read_json(self.content).get("conditions", {})
        with reading(self.content):
            differences = _differences(before, conditions)
        if differences:
            raise DfqError(
                f"'{self.path}' holds a comparison with {', '.join(differences)}",
                "one teacher, one set of settings and one --data for all cells of a folder",
                "repeat the first command to go on with it, or choose another folder with --out",
            )

    def write(self, content: dict, running: str | None = None) -> None:
        """Replaces the files; each is whole at any time. Without a finished cell there is no `diversity.png`.

        Args:
            content: The content of `compare.json`.
            running: What runs now (`show`).
        """
        write_json(self.content, content)
        for path, text in ((self.table, markdown), (self.latex, latex), (self.csv, comma_separated)):
            with replacing(path) as temporary:
                temporary.write_text(text(content), encoding="utf-8")
        comparison_chart(content, self.chart, self.svg, self.pdf)
        self.show(content, running)
        if measured := self._diversities(content):
            diversity_plot(measured, self.diversity)

    def show(self, content: dict, running: str | None = None) -> None:
        """Replaces the page; `running` says what runs now, None: the comparison has ended."""
        write_live_page(content, self.page, chart=self.svg.name, running=running)

    def _diversities(self, content: dict) -> dict[str, Diversity]:
        """Returns for each method how varied its images are, in the first column of the axis, with the first seed."""
        place = content["axis"][0], content["seeds"][0]
        rows = [r for r in content["cells"] if (r["column"], r["seed"]) == place and r["state"] == "finished"]
        return {row["method"]: _diversity(RunFolder(self.path / row["folder"])) for row in rows}


def _diversity(run: RunFolder) -> Diversity:
    report = read_json(run.report)
    with reading(run.report):
        return Diversity.from_dict(report["diversity"])


def make_conditions(teacher: Teacher, plan: ComparisonPlan, labelled: Labelled | None) -> dict:
    """Returns what must be the same for all cells of a folder; networks and images are given as SHA-256."""
    data = None if labelled is None else digest({"images": labelled.images, "labels": labelled.labels})
    return {
        "job": plan.job.name,
        "teacher": digest_of(teacher.model),
        "input_spec": teacher.input_spec.to_dict(),
        "data": data,
        "settings": plan.shared(),
    }


def _differences(before: dict, now: dict) -> list[str]:
    """Returns the differences in words, such as "another teacher" or "steps 600 (now 2)"."""
    names = {
        "job": "another --job",
        "teacher": "another teacher",
        "input_spec": "another input size, mean or std",
        "data": "other --data",
    }
    before = {"job": "quantize"} | before  # Older folders name neither job nor target.
    found = [text for key, text in names.items() if before.get(key) != now[key]]
    if before["job"] != now["job"]:
        return found
    old, new = before.get("settings", {}), now["settings"]
    old = ({"target": DEFAULT_TARGET} if "target" in new else {}) | old
    return found + [
        f"{name} {old.get(name)} (now {new.get(name)})" for name in new | old if old.get(name) != new.get(name)
    ]
