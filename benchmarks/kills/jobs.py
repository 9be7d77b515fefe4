"""The jobs that are killed: commands of small work on a small network, and what they leave."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dfq.calibration.methods import AUTO, METHODS
from dfq.checkpoint import load_checkpoint, save_checkpoint
from dfq.jobs.demo import digits
from dfq.models.registry import DIGITS_INPUT, build
from dfq.results.stored_files import read_json
from dfq.system.content_hash import digest_of

ARCH = "dfq/digits_cnn"
OLD = 5  # The other digits are the new classes of an increment.
WORK = ("--images", "48", "--steps", "30", "--no-flip")
QUANTIZE, DISTILL, INCREMENT, COMPARE = "quantize", "distill", "increment", "compare"


@dataclass(frozen=True)
class Killed:
    """A job that is killed several times.

    Attributes:
        job: The command.
        method: Its method, or its strategy.
        seed: Seed of the times at which it is killed.
    """

    job: str
    method: str
    seed: int

    def name(self) -> str:
        return f"{self.job} {self.method} seed-{self.seed}"


def all_jobs(seeds: int) -> list[Killed]:
    """Returns every method that works on the network, and the other commands, each with so many seeds."""
    jobs = [(QUANTIZE, AUTO), *((QUANTIZE, name) for name, row in METHODS.items() if not row.needs_attention)]
    jobs += [(DISTILL, "rgal"), (DISTILL, "gdfq"), (INCREMENT, "rgal"), (COMPARE, "zeroq-kd")]
    return [Killed(job, method, seed) for seed in range(seeds) for job, method in jobs]


def prepare(folder: Path) -> None:
    """Writes what the jobs start from: a network of ten digits, one of five, and images of the other five."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save_checkpoint(folder / "all.pt", build(ARCH), ARCH, DIGITS_INPUT)
    save_checkpoint(folder / "old.pt", build(ARCH, OLD), ARCH, DIGITS_INPUT)
    known = digits("training")
    chosen = known.labels >= OLD
    np.savez(folder / "new.npz", images=known.images[chosen], labels=known.labels[chosen] - OLD)


def arguments(cell: Killed, given: Path, out: Path) -> list[str]:
    """Returns the command line, which is the same for the first life of a job and for those that go on."""
    options = {
        QUANTIZE: ["all.pt", "--bits", "3", "--method", cell.method, *WORK, "--resume"],
        DISTILL: ["all.pt", "--student", ARCH, "--method", cell.method, *WORK, "--bits", "4", "--resume"],
        INCREMENT: ["old.pt", "--data", str(given / "new.npz"), "--strategy", cell.method, *WORK, "--resume"],
        COMPARE: ["all.pt", "--methods", f"zeroq,{cell.method}", "--bits", "4", "--seeds", "1", *WORK],
    }[cell.job]
    name = "grown.pt" if cell.job == INCREMENT else "run"
    return [cell.job, str(given / options[0]), *options[1:], "--out", str(out / name)]


def ends(cell: Killed, out: Path) -> dict[str, str]:
    """Returns the digest of each network that a job has made, by the name of its file."""
    if cell.job == INCREMENT:
        return {"grown.pt": _digest(out / "grown.pt")}
    reports = sorted(out.glob("run/**/report.json"))
    found = {
        str(path.parent.relative_to(out)): read_json(path)["student_digest"]
        for path in reports
        if "student_digest" in read_json(path)
    }
    return found | ({"student.pt": _digest(out / "run" / "student.pt")} if cell.job == DISTILL else {})


def files(out: Path) -> list[str]:
    """Returns the names of all files, those that a kill may leave included."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    model: nn.Module = load_checkpoint(path).model
    return digest_of(model)
