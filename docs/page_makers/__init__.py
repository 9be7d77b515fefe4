"""The pages of the site that are generated: one function for each, which returns its Markdown."""

from pathlib import Path

from page_makers import (
    census,
    command_line,
    float_reasons,
    methods,
    onnx_operators,
    report_schema,
    results,
    schemes,
    settings,
    strategies,
    targets,
)

ROOT = Path(__file__).resolve().parents[2]
PICTURES = "benchmarks/results"
PAGES = {
    "reference/cli.md": command_line.page,
    "reference/settings.md": settings.page,
    "reference/methods.md": methods.page,
    "reference/targets.md": targets.page,
    "reference/schemes.md": schemes.page,
    "reference/reasons-for-float.md": float_reasons.page,
    "reference/onnx-operators.md": onnx_operators.page,
    "reference/strategies.md": strategies.page,
    "reference/report-json.md": report_schema.page,
    "results.md": results.page,
    "census.md": census.page,
}
