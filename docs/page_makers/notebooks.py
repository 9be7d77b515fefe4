"""Tutorials that are notebooks: each becomes a page of Markdown and the pictures that are stored in it.

`nbconvert` writes Markdown, which MkDocs then treats like any other page: it checks the links, and code looks as on the
other pages. Nothing is executed while the site is built.
"""

from pathlib import Path

from nbconvert import MarkdownExporter

# What differs from nbconvert's own template: text that a cell prints is a block of text, as on the other pages, and a
# picture has the description and the width that the metadata of its cell and of its output give.
TEMPLATE = """\
{% extends 'markdown/index.md.j2' %}

{% macro printed(text) %}
```text
{{ text | strip_ansi | trim }}
```
{% endmacro %}

{% block stream %}{{ printed(output.text) }}{% endblock stream %}

{% block data_text scoped %}{{ printed(output.data['text/plain']) }}{% endblock data_text %}

{% block data_png %}
{% set width = output.metadata.get('image/png', {}).get('width') %}
![{{ cell.metadata.get('alt', '') }}]({{ output.metadata.filenames['image/png'] | path2url }})
{%- if width %}{ width="{{ width }}" }{% endif %}

{% endblock data_png %}
"""


def files_of(notebook: Path) -> dict[str, str | bytes]:
    """Returns the page of a notebook and its pictures, by their names in the notebook's folder."""
    exporter = MarkdownExporter(raw_template=TEMPLATE)
    names = {"unique_key": "output", "output_files_dir": f"{notebook.stem}_files"}
    text, resources = exporter.from_filename(str(notebook), resources=names)
    title, _, rest = text.strip().partition("\n")
    download = f"[Download this page as a notebook]({notebook.name}){{ download }}"
    return {f"{notebook.stem}.md": f"{title}\n\n{download}\n{rest}\n", **resources["outputs"]}
