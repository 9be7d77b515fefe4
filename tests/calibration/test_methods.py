"""The table of methods: every row does the whole job, and a newcomer's row does too."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from support.class_token_nets import attending
from support.small_nets import SPEC, Residual, small_teacher, trainable
from support.synthesis_cases import quick

from dfq.calibration import METHODS, Method
from dfq.images.batch import Batch
from dfq.jobs.distill import DistillSettings
from dfq.jobs.quantize.defaults import QUANTIZE_DEFAULTS
from dfq.jobs.quantize.run import quantize_model
from dfq.jobs.quantize.settings import Settings
from dfq.post_training.reconstruction import FitSettings
from dfq.post_training.steps_after_ranges import Reconstruct, StepContext
from dfq.quantizers.scheme import make_scheme
from dfq.results.run_folder import RunFolder
from dfq.student.convert import make_student
from dfq.student.set_ranges import calibrate
from dfq.system.budget import Budget
from dfq.system.stage import Stage
from dfq.teacher import Teacher
from dfq.training.image_sources import FreshImages
from dfq.training.objectives import KnowledgeDistillation

FEW = {"bits": 3, "scheme": "paper-qat", "images": 32, "steps": 8}


@pytest.mark.parametrize("name", METHODS)
def test_every_row_does_the_whole_job(name, tmp_path):
    teacher = attending()[1] if METHODS[name].needs_attention else small_teacher()
    row = replace(METHODS[name], synthesizer=quick(name))
    budget = 20.0 if name in ("reconstruct", "leaves") else None  # its iterations alone would take three times as long
    result = quantize_model(teacher, tmp_path / "run", Settings(**FEW, method=row, budget=budget))
    report = result.report
    assert report["settings"]["method"] == name
    assert report["agreement"]["onnx_student"]["synthetic"] == 1.0
    assert (result.history is None) == (row.objective is None)
    images = RunFolder(tmp_path / "run").load_images(teacher.input_spec, teacher.device)
    assert len(images) == 32 == report["settings"]["images"]
    assert report["seconds"]["synthesis"] >= 0 and report["seconds"]["training"] >= 0
    if row.objective is not None and row.source is not FreshImages:
        assert report["diversity"]["images"] == 32
    assert all(p.requires_grad for p in result.student.parameters() if p.is_leaf)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.objective is not None])
def test_no_row_mixes_images_whose_drawn_labels_it_reads(name):
    """A mixture has no label: an objective that reads labels fails without them, and must not see mixtures."""
    row, teacher = METHODS[name], small_teacher()
    distillation = DistillSettings(method=name).distillation
    unlabelled = Batch(torch.randn(8, *SPEC.size))
    for objective, training in ((row.objective, row.training), (distillation.objective, distillation.training)):
        if training.get("mix"):
            assert objective(trainable(Residual(5), SPEC), unlabelled, teacher)


def test_published_gdfq_leaves_the_ranges_alone(tmp_path):
    teacher, row = small_teacher(), replace(METHODS["gdfq-published"], synthesizer=quick("gdfq-published"))
    scales = []
    for steps in (0, 8):
        folder = tmp_path / str(steps)
        student = quantize_model(teacher, folder, Settings(**FEW | {"steps": steps}, method=row)).student
        scales.append({n: p.detach().clone() for n, p in student.named_parameters() if n.endswith("scale")})
    assert scales[0] and all(torch.equal(scales[0][name], scale) for name, scale in scales[1].items())


def test_the_method_in_contributing_works(tmp_path):
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()
    blocks = [re.sub(r"^    ", "", block, flags=re.M) for block in re.findall(r"(?:^    .*\n|^\n)+", text, flags=re.M)]
    code = next(block for block in blocks if "class MyImages" in block)
    row = next(block for block in blocks if block.strip().startswith("Method("))
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    names = {"torch": torch, "Batch": Batch, "Method": Method, "KnowledgeDistillation": KnowledgeDistillation}
    exec(code, names)  # the documentation's own lines
    method = eval(row.strip(), names)
    result = quantize_model(small_teacher(), tmp_path / "run", Settings(**FEW, method=method))
    assert result.report["settings"]["method"] == "mine" and result.history.steps == 8


def test_held_out_images_are_the_last_ones_of_a_pool_that_grew(tmp_path):
    teacher, row = small_teacher(), replace(METHODS["rgal-zeroq"], synthesizer=quick("rgal-zeroq"))
    settings = Settings(**FEW, method=row)
    quantize_model(teacher, tmp_path / "run", settings)
    images = RunFolder(tmp_path / "run").load_images(teacher.input_spec, teacher.device)
    first = settings.make_synthesizer(teacher).sample(16)
    count = QUANTIZE_DEFAULTS.held_out_of(32)
    torch.testing.assert_close(images.images[-count:], first.images[-count:], atol=1e-5, rtol=0)


def test_most_large_images_to_reconstruct_on_are_quick_ones():
    large, small = replace(SPEC, size=(3, 96, 64)), replace(SPEC, size=(3, 64, 64))
    counts = {name: Settings(bits=4, method=name).image_count(large) for name in ("reconstruct", "zeroq-kd", "instant")}
    assert counts == {"reconstruct": 512, "zeroq-kd": 128, "instant": 32}
    assert Settings(bits=4, method="reconstruct", budget=60.0).image_count(large) == 2048  # the clock ends it
    assert Settings(bits=4, method="reconstruct", images=7).image_count(large) == 7
    assert Settings(bits=4, method="reconstruct").image_count(small) == 1024
    for spec, iterations in ((large, [50, 50, 50, 200]), (small, [200])):
        synthesizer = METHODS["reconstruct"].synthesizer(Teacher(Residual(5), spec))
        assert [kind.iterations for kind in synthesizer.kinds] == iterations


def test_large_images_get_the_time_of_a_polish_that_would_be_undone():
    large, small = replace(SPEC, size=(3, 96, 64)), replace(SPEC, size=(3, 64, 64))
    settings = Settings(bits=4, method="reconstruct")
    assert settings.training(large).steps == 0 and settings.training(small).steps == 400
    assert replace(settings, steps=7).training(large).steps == 7, "unless a person says"
    assert Settings(bits=4, method="rgal").training(large).steps == 400
    assert settings.synthesis_share(large) > settings.synthesis_share(small) == 0.4


@pytest.mark.parametrize("steps", [0, 2])
def test_reconstruction_takes_all_of_the_budget_where_no_training_follows(tmp_path, steps):
    fractions = []

    class Watched(Budget):
        def part(self, fraction):
            fractions.append(fraction)
            return super().part(fraction)

    @dataclass(frozen=True)
    class Step:
        inner: Reconstruct

        def __call__(self, context):
            return self.inner(replace(context, stage=Stage(budget=Watched())))

    row = METHODS["reconstruct"]
    fast = Reconstruct(FitSettings(iterations=2, batch_size=4), share=0.6)
    row = replace(row, post_training=(Step(fast),), synthesizer=METHODS["instant"].synthesizer)
    quantize_model(small_teacher(), tmp_path / "run", Settings(bits=4, method=row, images=16, steps=steps))
    assert fractions[0] == (0.6 if steps else 1.0)


@pytest.mark.parametrize(("side", "iterations"), [(16, 4), (72, 2)])
def test_large_images_are_reconstructed_with_settings_of_their_own(side, iterations):
    teacher, images = small_teacher(), torch.randn(8, 3, side, side)
    student = calibrate(make_student(teacher, make_scheme(bits=4)), images)
    step = Reconstruct(FitSettings(iterations=4), large=FitSettings(iterations=2))
    report = step(StepContext(student, teacher, images))
    assert {block["iterations"] for block in report["reconstruction"]["blocks"]} == {iterations}
