"""Reference: every key of the reports, from their JSON Schemas and from the dataclass of the report of an increment."""

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from dfq.jobs.increment.report import IncrementReport
from dfq.results import report
from page_makers import markdown as md

FOLDER = Path(report.__file__).parent
INTRODUCTION = """# report.json

`dfq quantize` and `dfq distill` write everything that they measured, assumed and used into `report.json` of the [run
folder](run-folder.md). `report.html` and the lines on the terminal are drawn from it. `dfq increment` writes a smaller
report beside its checkpoint. From Python it is `.report` of what `dfq.quantize`, `dfq.distill` and `dfq.increment`
return.

Every report has a `schema_version`, which rises when a key changes its meaning or goes. A new key does not raise it.

Two files that are installed with dfq, `dfq/results/report.schema.json` and `dfq/results/distillation.schema.json`, are
the JSON Schemas (draft 2020-12) of the two kinds of `report.json`. Neither file needs the other. The sections on these
two are made from them, and a test checks real reports against them: a key that a schema does not know makes it fail.

```python
import json
from importlib.resources import files

for name in ("report", "distillation"):
    schema = json.loads((files("dfq.results") / f"{name}.schema.json").read_text())
    print(schema["title"], len(schema["properties"]), "keys")
```

Names in the tables are paths: `layers[].name` is the key `name` of each element of the list `layers`, and `{name}`
stands for a key that depends on the network.
"""
INCREMENT = """`dfq increment --out all.pt` writes its report as `all.json`. How the command is used is told in [new
classes](../how-to/new-classes.md)."""
JSON = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
PLURAL = {"text": "texts", "object": "objects", "number": "numbers", "whole number": "whole numbers"}


def page() -> str:
    quantization, distillation = (_Schema.read(f"{name}.schema.json") for name in ("report", "distillation"))
    parts = [
        INTRODUCTION.strip(),
        "## Quantization",
        quantization.description,
        *(quantization.section(key) for key in quantization.keys),
        "## Distillation",
        *_distillation(distillation, quantization),
        "## Increment",
        INCREMENT,
        _increment(),
    ]
    return "\n\n".join(parts) + "\n"


def _distillation(distillation: "_Schema", quantization: "_Schema") -> Iterator[str]:
    """What a quantization's report says likewise is only linked to; headings of the rest get anchors of their own."""
    alike = [key for key, found in distillation.keys.items() if found == quantization.keys.get(key)]
    links = ", ".join(f"[{md.code(key)}](#{key})" for key in alike)
    yield f"{distillation.description} These keys are the same as those of a quantization: {links}."
    for key in distillation.keys:
        if key not in alike:
            yield distillation.section(key, anchor=f" {{ #distillation-{key} }}")


def _increment() -> str:
    about = md.attributes(IncrementReport)
    rows = [(md.code(field.name), about[field.name].replace("None", "null")) for field in fields(IncrementReport)]
    return md.table(("key", "meaning"), rows)


class _Schema:
    """Walks a schema, and follows its references."""

    def __init__(self, schema: dict):
        self.schema, self.required = schema, set(schema["required"])
        self.keys, self.description = schema["properties"], schema["description"]

    @classmethod
    def read(cls, name: str) -> "_Schema":
        return cls(json.loads((FOLDER / name).read_text()))

    def section(self, key: str, anchor: str = "") -> str:
        found = self.resolved(self.keys[key])
        rows = list(self.rows(key, found))
        always = "" if key in self.required else " It is not in every report."
        kind = self.kind(found)
        return "\n\n".join(
            [
                f"### {key}{anchor}",
                f"{found['description']}{always}" + (f" Type: {kind}." if kind and not rows else ""),
                *([md.table(("key", "type", "meaning"), rows)] if rows else []),
            ]
        )

    def resolved(self, found: dict) -> dict:
        """With what it refers to; what stands beside a reference comes first. Of alternatives the one with keys."""
        for part in [found["$ref"]] if "$ref" in found else []:
            found = {**self.schema["$defs"][part.rpartition("/")[2]], **found}
        for part in found.get("allOf", []):
            more = self.resolved(part)
            found = {**more, **found, "properties": {**more["properties"], **found["properties"]}}
        alternatives = [self.resolved(part) for part in found.get("anyOf", [])]
        described = next((part for part in alternatives if "properties" in part or "items" in part), {})
        return {**described, **found}

    def rows(self, path: str, found: dict) -> Iterator[tuple[str, str, str]]:
        """A row for each key below `path`, those of elements and of nested objects included."""
        for name, part in found.get("properties", {}).items():
            yield from self.row(f"{path}.{name}", self.resolved(part))
        if isinstance(further := found.get("additionalProperties"), dict):
            yield from self.further(path, self.resolved(further))
        if isinstance(items := found.get("items"), dict):
            yield from self.rows(f"{path}[]", self.resolved(items))

    def row(self, path: str, found: dict) -> Iterator[tuple[str, str, str]]:
        yield md.code(path), self.kind(found), found.get("description", "")
        yield from self.rows(path, found)

    def further(self, path: str, found: dict) -> Iterator[tuple[str, str, str]]:
        if "properties" in found or isinstance(found.get("additionalProperties"), dict):
            yield from self.rows(f"{path}.{{name}}", found)

    def kind(self, found: dict) -> str:
        """The type in words, with its range."""
        if "enum" in found:
            return " or ".join(f'"{one}"' for one in found["enum"])
        if "anyOf" in found:
            parts = [self.kind(self.resolved(part)) for part in found["anyOf"]]
            return " or ".join(dict.fromkeys(part for part in parts if part))
        if "const" in found:
            return json.dumps(found["const"])
        types = found.get("type", [])
        types = [types] if isinstance(types, str) else types
        return " or ".join(self.name(one, found) for one in types)

    def name(self, one: str, found: dict) -> str:
        if one == "array":
            of = self.kind(self.resolved(found["items"]))
            first = max((word for word in PLURAL if of.startswith(word)), key=len, default="")
            return f"list of {PLURAL[first]}{of.removeprefix(first)}" if first else f"list ({of})"
        if one == "object" and isinstance(found.get("additionalProperties"), dict) and "properties" not in found:
            return f"object; values: {self.kind(self.resolved(found['additionalProperties']))}"
        if one in ("integer", "number") and "minimum" in found and "maximum" in found:
            return f"{JSON[one]} from {found['minimum']} to {found['maximum']}"
        return JSON.get(one, one)
