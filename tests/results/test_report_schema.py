"""`report.json` is what its schema says, and the schema says something on everything."""

import json
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from support.command_line import SMALL, succeed

from dfq.evaluation.diversity import Diversity
from dfq.evaluation.held_out_evidence import Evidence
from dfq.jobs.distill.report import DistillationReport
from dfq.jobs.distill.settings import DistillSettings
from dfq.jobs.quantize.report import QuantizationReport
from dfq.jobs.quantize.settings import Settings
from dfq.mixed_precision.chosen_widths import ChosenWidths
from dfq.quantizers.scheme import Scheme

NAMES = ("report", "distillation")
# Keys of both reports that are described otherwise for a distillation: it has a teacher and a student of different
# architectures, predicts no drop, chooses no widths, has settings of its own, and always trains.
UNLIKE = {"arch", "accuracy", "size_bytes", "latency_ms", "evidence", "seconds", "settings", "training"}


@pytest.fixture(scope="module")
def schemas() -> dict[str, dict]:
    return {name: json.loads((files("dfq.results") / f"{name}.schema.json").read_text()) for name in NAMES}


@pytest.fixture(scope="module")
def distilled_folder(model_file, labelled_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("distilled") / "run"
    student = ("--student", "dfq/digits_cnn", "--data", labelled_file)
    succeed("distill", model_file, *student, *SMALL, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def reports(run_folder, distilled_folder) -> dict[str, dict]:
    folders = {"report": run_folder, "distillation": distilled_folder}
    return {name: json.loads((folder / "report.json").read_text()) for name, folder in folders.items()}


def errors(report: dict, schema: dict) -> list[str]:
    found = Draft202012Validator(schema).iter_errors(report)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_is_one(name, schemas):
    Draft202012Validator.check_schema(schemas[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_report_is_as_the_schema_says(name, reports, schemas):
    assert errors(reports[name], schemas[name]) == []


def test_a_report_of_mixed_bits_is_too(model_file, tmp_path, schemas):
    """With widths, a reconstruction and a fallback."""
    mixed = ("--bits", "mixed", "--average-bits", 4.5, "--images", 16, "--steps", 2, "--no-flip", "--budget", "40s")
    succeed("quantize", model_file, *mixed, "--out", tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {"reconstruction", "fallback"} <= set(report) and report["mixed_precision"]
    assert errors(report, schemas["report"]) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_key_that_is_not_documented_is_an_error(name, reports, schemas):
    report = reports[name]
    assert errors({**report, "more": 1}, schemas[name]) != []
    for key in ("agreement", "seconds", "settings", "diversity"):
        assert errors({**report, key: {**report[key], "more": 1}}, schemas[name]) != [], key


def test_a_distillation_predicts_no_drop(reports, schemas):
    evidence = {**reports["distillation"]["evidence"], "predicted_drop": 0.1}
    assert errors({**reports["distillation"], "evidence": evidence}, schemas["distillation"]) != []


def test_each_schema_refuses_the_other_report(reports, schemas):
    assert errors(reports["report"], schemas["distillation"]) and errors(reports["distillation"], schemas["report"])


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        (Settings, "report", ("properties", "settings")),
        (Scheme, "report", ("$defs", "scheme")),
        (Diversity, "report", ("properties", "diversity")),
        (Evidence, "report", ("$defs", "evidence")),
        (DistillationReport, "distillation", ()),
        (DistillSettings, "distillation", ("properties", "settings")),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_fields_of_the_code_are_the_keys_of_the_schema(kind, name, path, schemas):
    part = schemas[name]
    for key in path:
        part = part[key]
    names = {field.name for field in fields(kind)} | ({"decision"} if kind is DistillationReport else set())
    assert names == set(part["properties"])
    if kind is not Evidence:  # the report of a quantization adds a key to it
        assert names == set(part["required"])


def test_a_step_of_a_method_adds_a_section_to_the_fields_of_a_quantization(schemas):
    always = {field.name for field in fields(QuantizationReport)} - {"sections"} | {"decision"}  # made from the others
    assert set(schemas["report"]["required"]) == always
    assert set(schemas["report"]["properties"]) == always | {"reconstruction", "fallback"}


def test_both_schemas_say_the_same_on_what_both_reports_have(schemas):
    """Each is whole without the other, so that a reader needs one file; this keeps the copies alike."""
    whole, distillation = schemas["report"], schemas["distillation"]
    shared = set(whole["properties"]) & set(distillation["properties"])
    unlike = {key for key in shared if whole["properties"][key] != distillation["properties"][key]}
    assert unlike == UNLIKE
    for name in set(whole["$defs"]) & set(distillation["$defs"]):
        assert whole["$defs"][name] == distillation["$defs"][name], name


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_described(name, schemas):
    assert list(undescribed(schemas[name], name)) == []


def test_every_field_of_chosen_widths_is_a_key(schemas):
    widths = {field.name for field in fields(ChosenWidths)} | {"average_bits"}
    assert widths == set(schemas["report"]["properties"]["mixed_precision"]["properties"])


def undescribed(part: dict, path: str):
    for name, found in part.get("properties", {}).items():
        if "description" not in found:
            yield f"{path}.{name}"
        yield from undescribed(found, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(part.get(name), dict):
            yield from undescribed(part[name], f"{path}[]")
    for name, found in part.get("$defs", {}).items():
        yield from undescribed(found, name)
