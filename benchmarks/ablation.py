"""What each part of RGAL contributes: the same number of images and student steps for every arm, several seeds.

    python benchmarks/ablation.py --data ../shared/data [--bits 2] [--only ARM] [--show] [--threads N]

Each arm is `rgal-zeroq` with one thing changed. A finished cell is never run again. `jury` is agreement with the
teacher on held-out *synthetic* images that belong to no arm: weights are chosen by it. `real` is agreement on 10,000
real images, opened to report.
"""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import click
import numpy as np
import torch
from nets import Data
from rich import box
from rich.console import Console
from rich.table import Table

from dfq.batch import Batch
from dfq.calibrate import calibrate
from dfq.calibration import METHODS, Method, zeroq
from dfq.calibration.gdfq import GDFQ, GDFQConfig
from dfq.calibration.rgal import STUDENT_PHASE
from dfq.calibration.terms import Disagreement, SynthesisRelations, Term
from dfq.convert import quantize
from dfq.diversity import measure_diversity
from dfq.objectives import Objective
from dfq.relations import UNIFORM
from dfq.report import hardware, versions
from dfq.run_folder import write_json
from dfq.run_images import held_out_count
from dfq.settings import Settings
from dfq.teacher import Teacher
from dfq.train import Trainer

NET, SCHEME, IMAGES, STEPS = "resnet20", "paper-qat", 512, 300
JURY_SEEDS = (101, 102)
DISAGREEMENT, RELATIONS = Disagreement(1.0), SynthesisRelations(1.0)  # as loud as published
DISTILLATION = METHODS["zeroq-kd"].objective
NO_TRIPLETS = replace(STUDENT_PHASE, triplet_weight=0.0)
PLAIN_TRIPLETS = replace(STUDENT_PHASE, map_weight=0.0)


def arm(terms: tuple[Term, ...], objective: Objective = STUDENT_PHASE, **fields) -> Method:
    """`rgal-zeroq` with other synthesis terms, another objective, or other fields."""
    row = METHODS["rgal-zeroq"]
    config = replace(row.synthesizer.args[0], terms=(*zeroq.IMPROVED.terms, *terms))
    synthesizer = type(row.synthesizer)(row.synthesizer.func, config)
    return replace(row, synthesizer=synthesizer, objective=objective, **fields)


def plain(terms: tuple[Term, ...] = (), objective: Objective = DISTILLATION, *, paired: bool = False) -> Method:
    """The same without mixtures, enlarged parts and feature maps."""
    return arm(terms, objective, training=MappingProxyType({}), zoom=1.0, paired=paired)


def generated(terms: tuple[Term, ...], objective: Objective) -> Method:
    """One generator for the whole run, as GDFQ has it."""
    row = METHODS["gdfq"]
    return replace(row, synthesizer=partial(GDFQ, GDFQConfig(terms=terms)), objective=objective)


ARMS: dict[str, Method] = {
    "plain distillation": plain(),
    "+ mixtures": arm((), DISTILLATION, zoom=1.0, paired=False),
    "+ zoom": arm((), DISTILLATION, paired=False),
    "+ feature maps (base)": arm((), NO_TRIPLETS, paired=False),
    "base + disagreement": arm((DISAGREEMENT,), NO_TRIPLETS, paired=False),
    "base + synthesis relations": arm((RELATIONS,), NO_TRIPLETS, paired=False),
    "base + student relations": arm((), STUDENT_PHASE),
    "RGAL as shipped": METHODS["rgal-zeroq"],
    "both phases at weight 1": arm((DISAGREEMENT, RELATIONS)),
    "synthesis as in the released code": arm((DISAGREEMENT, replace(RELATIONS, swapped=False))),
    "uniform negatives": arm(
        (DISAGREEMENT, replace(RELATIONS, sampling=UNIFORM)), replace(STUDENT_PHASE, sampling=UNIFORM)
    ),
    "base + synthesis relations × 5": arm((SynthesisRelations(5.0),), NO_TRIPLETS, paired=False),
    "base + student relations × 10": arm((), replace(STUDENT_PHASE, triplet_weight=1.0)),
    "plain + synthesis relations": plain((RELATIONS,)),
    "plain + disagreement": plain((Disagreement(0.03),)),
    "plain + student relations": plain(objective=PLAIN_TRIPLETS, paired=True),
    "plain + both relations": plain((RELATIONS,), PLAIN_TRIPLETS, paired=True),
    "GDFQ's generator": generated((), DISTILLATION),
    "generator + disagreement": generated((DISAGREEMENT,), DISTILLATION),
    "generator + synthesis relations": generated((RELATIONS,), DISTILLATION),
    "generator + student relations": generated((), PLAIN_TRIPLETS),
    "generator + both relations": generated((RELATIONS,), PLAIN_TRIPLETS),
    "relations × 10": arm(
        (DISAGREEMENT, SynthesisRelations(10.0)),
        replace(STUDENT_PHASE, triplet_weight=10 * STUDENT_PHASE.triplet_weight),
    ),
}


def described(method: Method) -> str:
    """Everything that an arm varies: a cell counts as finished only for an arm that was the same."""
    parts = (method.synthesizer.args[0].terms, method.objective, method.zoom, dict(method.training), method.paired)
    return " | ".join(map(repr, parts))


class Ablation:
    """Teacher, first images and jury, each made once; one student per cell."""

    def __init__(self, data: Path):
        self.data = Data(data)
        self.teacher: Teacher = self.data.teacher(NET)
        self.real = self.data.real(NET, self.teacher)
        self._first: dict[int, Batch] = {}
        self._jury: Batch | None = None

    def first_images(self, seed: int) -> Batch:
        """The half of the images that is made before there is a student: the same for every arm."""
        if seed not in self._first:
            settings = Settings(method="zeroq-kd", seed=seed)
            self._first[seed] = settings.make_synthesizer(self.teacher, None, None).sample(IMAGES // 2)
        return self._first[seed]

    def jury(self) -> Batch:
        """Images by two parametrizations and two other seeds: no arm's own."""
        if self._jury is None:
            made = [
                Settings(method=name, seed=seed).make_synthesizer(self.teacher, None, None).sample(256)
                for name, seed in zip(("zeroq-kd", "rgal"), JURY_SEEDS, strict=True)
            ]
            self._jury = made[0].joined(made[1])
        return self._jury

    def run(self, method: Method, bits: int, seed: int) -> dict:
        start = time.monotonic()
        settings = Settings(bits=bits, scheme=SCHEME, seed=seed, method=method, steps=STEPS, images=IMAGES)
        student = quantize(self.teacher, settings.make_scheme())
        synthesizer = replace(settings, seed=seed + 1000).make_synthesizer(self.teacher, None, None)
        grows = method.first_share < 1
        first = self.first_images(seed) if grows else synthesizer.sample(IMAGES // 2)
        training, held_out = first.split(held_out_count(IMAGES))
        calibrate(student, training.images[:256], ranges=settings.chosen_ranges, seed=seed)
        source = method.source(self.teacher, training, synthesizer, IMAGES - len(held_out), paired=method.paired)
        training_settings = settings.training(self.teacher.input_spec)
        trainer = Trainer(self.teacher, student, method.objective, training_settings)
        history = trainer.fit(source, held_out)
        return {
            "real": self.agreement(student, self.real), "jury": self.agreement(student, self.jury()),
            "held_out": history.records[-1]["held_out"],
            "diversity": self.diversity(source.images_at_the_end()),
            "seconds": time.monotonic() - start,
        }  # fmt: skip

    def diversity(self, images: Batch) -> dict[str, float]:
        """How near the images that were made against the student lie to each other, in the teacher's features."""
        grown = images.pick(torch.arange(max(len(images) - IMAGES // 2, 0), len(images)))
        measured = measure_diversity(self.teacher, grown).to_dict()
        return {key: measured[key] for key in ("same_class_distance", "different_class_distance", "entropy")}

    @torch.no_grad()
    def agreement(self, student: torch.nn.Module, images: Batch) -> float:
        """Top-1 agreement with the teacher, in [0, 1]."""
        same = [int((student(b).argmax(1) == self.teacher(b).argmax(1)).sum()) for b in images.images.split(500)]
        return sum(same) / len(images)


def table(rows: list[dict], bits: int) -> Table:
    title = f"{NET} W{bits}A{bits} {SCHEME}: {IMAGES} images, {STEPS} steps; agreement with the teacher in %"
    view = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("arm", "seeds", "10,000 real images", "synthetic jury", "s"):
        view.add_column(column, justify="left" if column == "arm" else "right")
    for name in ARMS:
        group = [r for r in rows if (r["arm"], r["bits"], r["method"]) == (name, bits, described(ARMS[name]))]
        if group:
            figures = [spread([100 * row[key] for row in group]) for key in ("real", "jury")]
            view.add_row(name, str(len(group)), *figures, f"{np.mean([row['seconds'] for row in group]):.0f}")
    return view


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="the shared data folder")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/ablation.json"))
@click.option("--bits", default=2, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--only", multiple=True, help="run the arm of this name; may be given more than once")
@click.option("--show", is_flag=True, help="print the table of finished cells and stop")
@click.option("--threads", default=2, show_default=True)
def main(data: Path, out: Path, bits: int, seeds: int, only: tuple[str, ...], show: bool, threads: int) -> None:
    torch.set_num_threads(threads)
    console, ablation = Console(), None if show else Ablation(data)
    done = {(row["arm"], row["bits"], row["seed"], row["method"]) for row in read_rows(out)}
    for seed in range(seeds) if ablation else ():
        for name in only or ARMS:
            key = {"arm": name, "bits": bits, "seed": seed, "method": described(ARMS[name])}
            if tuple(key.values()) in done:
                continue
            figures = ablation.run(ARMS[name], bits, seed)
            environment = {"versions": versions(), "hardware": hardware(ablation.teacher.device)}
            write_json(out, [*read_rows(out), {**key, **figures, **environment}])  # read again: others may have added
            console.print(f"{name}, seed {seed}: {figures['seconds']:.0f} s")
    console.print(table(read_rows(out), bits))


def read_rows(out: Path) -> list[dict]:
    return json.loads(out.read_text()) if out.exists() else []


if __name__ == "__main__":
    main()
