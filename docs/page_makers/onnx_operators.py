"""Reference: the operators of ONNX files that dfq reads."""

from dfq.graph.operators import Kind
from dfq.models.onnx_file.constants import FOLDABLE
from dfq.models.onnx_file.operators.float_operators import FLOAT_OPERATORS
from dfq.models.onnx_file.operators.table import FOLDED, KINDS, LEFT_OUT, OPERATORS
from dfq.models.onnx_file.reading import CONTROL, QUANTIZED
from dfq.models.onnx_file.settings import ReadOnnxSettings
from page_makers import markdown as md

SETTINGS = ReadOnnxSettings()
INTRODUCTION = f"""# ONNX operators

`dfq quantize model.onnx` reads files of opset {SETTINGS.oldest_opset} to {SETTINGS.newest_opset}. Each operator has a
row in a table, which says what it computes; the tests compare every row with ONNX Runtime. What does not depend on the
images is computed once; for shapes, masks and constants a file may also use
{", ".join(map(md.code, FOLDABLE))}. Before anything else happens, the network that results is compared with the file in
ONNX Runtime, on several numbers of random images.

The last column says what becomes of an operator in the low-bit file for `ort-cpu`. A layer needs a weight that is
stored in the file. [Reasons for floating point](reasons-for-float.md) tells when a layer stays in floating point all
the same.
"""
HEAD = ("operator", "in the low-bit file")
INTEGER = "integers"
MEANINGS = {
    Kind.MATRIX: f"{INTEGER}, where one input is a stored weight",
    Kind.INTEGER: INTEGER,
    Kind.GATE: f"{INTEGER}, where all that it reads is integer",
    Kind.RELU: "nothing: the layer before it clips",
    Kind.PASS: "moves integers",
}
IN_FLOAT = "floating point: ONNX Runtime has no integer kernel for it, or none that is faster"
FOLDED_AWAY = "folded into the layer before it"
GONE = "nothing: it changes nothing"
ALLOWED = "floating point; needs `--allow-float-ops`"
FLOAT = """## What needs `--allow-float-ops`

These operators are seldom in networks for images, and there are no integers for them. A file with one of them is
refused, unless `--allow-float-ops` (in Python: `allow_float_ops=True`) allows them: then they stay in floating point,
and the report names them. Of `LSTM`, `GRU` and `RNN` the usual activations are read, of `GRU` the form with
`linear_before_reset`, and of `ScatterND` the reductions `none` and `add`.
"""
REFUSED = """## What is refused

- Files that are quantized already ({quantized}, `QLinear…`), with control flow that depends on the images or with
  sequences ({control}, `Sequence…`); an `If` whose condition is a constant is replaced by its branch.
- Files that take something else than one input of images in floating point: text, audio, several inputs.
- Files that have numbers of fewer than 8 bits, or of float8: they are quantized already. `float16` and `bfloat16`
  become `float32`, and dfq says so.
- Files whose external data lies outside of their own folder, unless both are links to one other folder as in the cache
  of Hugging Face; that hold fewer numbers than they declare; or that compute a tensor of more than {largest:,} numbers
  for one image.
- Networks with constants or sizes that depend on the number of images in another way than `a + b · images`, or with
  sizes that depend on what an image shows.
"""


def page() -> str:
    rows = [(md.code(name), _outcome(name)) for name in sorted(OPERATORS)]
    refused = REFUSED.format(
        quantized=", ".join(map(md.code, QUANTIZED)),
        control=", ".join(map(md.code, CONTROL)),
        largest=SETTINGS.largest_tensor,
    )
    table = md.table(HEAD, rows)
    floats = md.table(HEAD, [(md.code(name), ALLOWED) for name in sorted(FLOAT_OPERATORS)])
    return "\n\n".join([INTRODUCTION.strip(), table, FLOAT.strip(), floats, refused.strip()]) + "\n"


def _outcome(name: str) -> str:
    if name in FOLDED:
        return FOLDED_AWAY
    if name in LEFT_OUT:
        return GONE
    return MEANINGS[KINDS[name]] if name in KINDS else IN_FLOAT
