"""`report.json` is what its schema says, and the schema says something on everything."""

import json
from dataclasses import fields
from importlib.resources import files

import pytest
from jsonschema import Draft202012Validator
from support.command_line import succeed

from dfq.evaluation.diversity import Diversity
from dfq.evaluation.drop_estimate import Evidence
from dfq.jobs.quantize.settings import Settings
from dfq.mixed_precision.chosen_widths import ChosenWidths
from dfq.quantizers.scheme import Scheme


@pytest.fixture(scope="module")
def schema() -> dict:
    return json.loads((files("dfq.results") / "report.schema.json").read_text())


def errors(report: dict, schema: dict) -> list[str]:
    found = Draft202012Validator(schema).iter_errors(report)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def test_the_schema_is_one(schema):
    Draft202012Validator.check_schema(schema)


def test_a_report_is_as_the_schema_says(run_folder, schema):
    assert errors(json.loads((run_folder / "report.json").read_text()), schema) == []


def test_a_report_of_mixed_bits_is_too(model_file, tmp_path, schema):
    """With widths, a reconstruction and a fallback."""
    mixed = ("--bits", "mixed", "--average-bits", 4.5, "--images", 16, "--steps", 2, "--no-flip")
    succeed("quantize", model_file, *mixed, "--out", tmp_path / "run")
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert {"reconstruction", "fallback"} <= set(report) and report["mixed_precision"]
    assert errors(report, schema) == []


def test_a_key_that_is_not_documented_is_an_error(run_folder, schema):
    report = json.loads((run_folder / "report.json").read_text())
    assert errors({**report, "more": 1}, schema) != []


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Settings, ("properties", "settings")),
        (Scheme, ("$defs", "scheme")),
        (Diversity, ("properties", "diversity")),
        (Evidence, ("$defs", "evidence")),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_fields_of_the_code_are_the_keys_of_the_schema(kind, path, schema):
    assert {field.name for field in fields(kind)} == set(schema[path[0]][path[1]]["properties"])


def test_every_key_is_described(schema):
    assert list(undescribed(schema, "report")) == []
    widths = {field.name for field in fields(ChosenWidths)} | {"average_bits"}
    assert widths == set(schema["properties"]["mixed_precision"]["properties"])


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
