"""Reference: every key of `report.json`, from its JSON Schema."""

import json
from collections.abc import Iterator
from pathlib import Path

from dfq.results import report
from page_makers import markdown as md

SCHEMA = Path(report.__file__).with_name("report.schema.json")
INTRODUCTION = """# report.json

`dfq quantize` writes everything that it measured, assumed and used into `report.json` of the [run
folder](run-folder.md). `report.html` and the lines on the terminal are drawn from it. From Python it is
`dfq.quantize(…).report`.

The file `dfq/results/report.schema.json`, which is installed with dfq, is its JSON Schema (draft 2020-12), and this
page is made from that file. A test checks a real report against it: a key that the schema does not know makes it fail.

```python
import json
from importlib.resources import files

schema = json.loads((files("dfq.results") / "report.schema.json").read_text())
print(len(schema["properties"]), "keys")
```

Names in the tables are paths: `layers[].name` is the key `name` of each element of the list `layers`, and `{name}`
stands for a key that depends on the network.
"""
JSON = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
PLURAL = {"text": "texts", "object": "objects", "number": "numbers", "whole number": "whole numbers"}


def page() -> str:
    schema = json.loads(SCHEMA.read_text())
    sections = (_Schema(schema).section(key, found) for key, found in schema["properties"].items())
    return "\n\n".join([INTRODUCTION.strip(), schema["description"], *sections]) + "\n"


class _Schema:
    """Walks a schema, and follows its references."""

    def __init__(self, schema: dict):
        self.schema, self.required = schema, set(schema["required"])

    def section(self, key: str, found: dict) -> str:
        found = self.resolved(found)
        rows = list(self.rows(key, found))
        always = "" if key in self.required else " It is not in every report."
        kind = self.kind(found)
        return "\n\n".join(
            [
                f"## {key}",
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
            return f'"{found["const"]}"'
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
