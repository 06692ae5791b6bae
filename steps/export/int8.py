"""Composition-invariant INT8: each row of activations is quantized by its own largest value, in plain ONNX operators.

A row's scale is its largest magnitude over 127, a weight's that of its output channel (Dettmers et al. 2022,
"LLM.int8()", section 2.1, vector-wise quantization). Products of 8-bit integers add up exactly, so a row's result
depends on that row alone, whatever else is in the batch. ONNX Runtime's dynamic INT8 takes one scale over the batch,
and does depend on it. x86 without VNNI lets sums of two products saturate: there the golden scores do not hold, and
the bundle is refused.

A few columns of what a layer reads are far larger than the others, and a row's scale is theirs. Dividing each column by
a number of its own, and multiplying the weights that meet it, changes no product and lets the scale fit more of them
(Xiao et al. 2023, "SmoothQuant", equation 4, with alpha = 1/2). Where that leaves one in 64 so large that a scale
without them is at most half as wide, those are multiplied apart, in fp32 ("LLM.int8()", section 3.2, columns chosen
once).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rewardlab.engine.session import Session
from rewardlab.tokens import TokenTree
from steps.export.sizes import known_sizes

_HEAD = "/head/"
_LARGEST, _MIDDLE = 127, 128
Floats = npt.NDArray[np.float32]
_ONE_IN, _TIMES = 64, 2.0
"""Share of columns that stay in fp32, where the largest is so many times as large as the largest of the others."""
_LEAST = 1e-5
"""What columns and weights count as that are smaller, or nothing."""
_CONSTANTS: dict[str, npt.NDArray[Any]] = {
    "int8.unit": np.array(1 / _LARGEST, np.float32),
    "int8.least": np.array(np.finfo(np.float32).tiny, np.float32),
    "int8.zero_point": np.array(_MIDDLE, np.uint8),
    "int8.last_axis": np.array([-1], np.int64),
}


@dataclass(frozen=True, slots=True)
class _Linear:
    """A product with constant weights: `rows @ weights + bias`."""

    node: NodeProto
    weights: npt.NDArray[np.float32]
    bias: str | None


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the columns of an input are divided by, and the places of those that stay in fp32; often there are none."""

    divisors: Floats
    apart: npt.NDArray[np.int64]

    @classmethod
    def of(cls, largest: Floats, weights: Floats) -> Self:
        """Choose them by the largest magnitudes in each column and in the weights that meet it."""
        # 1. Divide so that a column and its weights are as large: half of the ratio goes to each side.
        logs = 0.5 * np.log(np.maximum(largest, _LEAST) / np.maximum(weights, _LEAST))
        divisors = np.exp(logs - logs.mean()).astype(np.float32)

        # 2. Keep the largest of what is left in fp32, a multiple of 8 columns, where they stand out from the next.
        divided = largest / divisors
        by_size = np.argsort(-divided, kind="stable")
        num_apart = 8 * -(-len(divided) // (8 * _ONE_IN))
        if num_apart >= len(divided) or divided[by_size[0]] < _TIMES * divided[by_size[num_apart]]:
            return cls(divisors, by_size[:0])
        return cls(divisors, np.sort(by_size[:num_apart]))


def largest_columns(model: Path, trees: Sequence[TokenTree], *, pad_id: int) -> dict[str, Floats]:
    """Return the largest magnitude of each column of what a graph's linear layers read on some texts.

    A copy of the graph that also returns those inputs is written beside it, and removed. Padding is left out; what does
    not hold a row for each token holds none for padding.
    """
    import onnxruntime

    tapped = model.with_suffix(".tapped")
    names = _tap(model, tapped)
    session, found = Session(model, pad_id=pad_id), dict[str, Floats]()
    taps = onnxruntime.InferenceSession(tapped, providers=["CPUExecutionProvider"])
    tapped.unlink()
    for tree in trees:
        for feeds in session.feeds(tree):
            real = (np.arange(feeds["input_ids"].shape[1]) < feeds["lengths"][:, None]).ravel()
            for name, values in zip(names, taps.run(names, feeds), strict=True):
                rows = np.abs(values.reshape(-1, values.shape[-1]))
                largest = (rows[real] if len(rows) == len(real) else rows).max(axis=0)
                found[name] = np.maximum(found.get(name, largest), largest)
    return found


def _tap(model: Path, target: Path) -> list[str]:
    """Write the graph with its linear layers' inputs among its outputs, and return their names."""
    opened = onnx.load(model)
    names = list(dict.fromkeys(linear.node.input[0] for linear in _linears(opened.graph)))
    opened.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    onnx.save(opened, target)
    return names


def quantize_rows(
    source: Path, target: Path, *, keep_wide: bool = False, largest: Mapping[str, Floats] | None = None
) -> int:
    """Write the graph with its linear layers in W8A8 and return how many there are; the head stays fp32.

    Args:
        source: the fp32 graph.
        target: the file to write.
        keep_wide: leave in fp32 what reads rows wider than the model: the second layers of MLPs, whose inputs have the
            largest outliers (Sun et al. 2024, "Massive Activations in Large Language Models", section 2).
        largest: of inputs by name the largest magnitude of each column, as `largest_columns` measures it; the others
            are not evened out.
    """
    model = onnx.load(source)
    graph = model.graph
    found = list(_linears(graph))
    width = Counter(len(each.weights) for each in found).most_common(1)[0][0]
    linears = {id(each.node): each for each in found if not (keep_wide and len(each.weights) > width)}
    columns = _columns(linears.values(), largest or {})
    nodes: list[NodeProto] = []
    quantized: set[str] = set()
    alike = _alike(model)
    for node in graph.node:
        linear = linears.get(id(node))
        if linear is None:
            nodes.append(node)
            continue
        rows = node.input[0]
        shape = alike.get(rows, rows)
        if shape not in quantized:
            nodes.extend(_measure(rows, shape))
        if rows not in quantized:
            nodes.extend(_quantize(graph, rows, shape, columns.get(rows)))
        quantized |= {shape, rows}
        nodes.extend(_multiply(graph, linear, shape, columns.get(rows)))
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in _CONSTANTS.items())
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    onnx.save(model, target)
    return len(linears)


def _linears(graph: GraphProto) -> Iterator[_Linear]:
    constants = {each.name: each for each in graph.initializer}
    for node in graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in constants or _HEAD in node.name:
            continue
        settings = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if settings.get("transA", 0) or settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0:
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        if weights.ndim == 2 and weights.dtype == np.float32:
            bias = node.input[2] if len(node.input) > 2 else None
            yield _Linear(node, weights.T if settings.get("transB", 0) else weights, bias)


def _columns(linears: Iterable[_Linear], largest: Mapping[str, Floats]) -> dict[str, _Columns]:
    """Return the columns of each input that was measured; several layers may read one."""
    largest_weights: dict[str, Floats] = {}
    for linear in linears:
        rows = linear.node.input[0]
        by_column = np.abs(linear.weights).max(axis=1)
        largest_weights[rows] = np.maximum(largest_weights.get(rows, by_column), by_column)
    return {
        rows: _Columns.of(largest[rows], by_column) for rows, by_column in largest_weights.items() if rows in largest
    }


def _alike(model: ModelProto) -> dict[str, str]:
    """Return for each tensor what its sizes but the last are called, where they are known."""
    return {
        name: "int8.rows." + ".".join(map(str, sizes[:-1]))
        for name, sizes in known_sizes(model).items()
        if sizes and None not in sizes[:-1]
    }


def _measure(rows: str, shape: str) -> Iterator[NodeProto]:
    """Yield the nodes that make `shape.sizes`, those of the rows but the last, and `shape.middles` [R]."""
    yield helper.make_node("Shape", [rows], [f"{shape}.sizes"], end=-1)
    yield helper.make_node("ReduceProd", [f"{shape}.sizes"], [f"{shape}.num"], keepdims=1)
    yield helper.make_node("Expand", ["int8.zero_point", f"{shape}.num"], [f"{shape}.middles"])


def _quantize(graph: GraphProto, rows: str, shape: str, columns: _Columns | None) -> Iterator[NodeProto]:
    """Yield the nodes that make `rows.int8` [R, K] and `rows.scale` [R]: without sign, which x86 multiplies fastest.

    Of measured columns those that stay in fp32 are in `rows.apart`, and 0 among the others.
    """
    yield helper.make_node("Flatten", [rows], [f"{rows}.flat"], axis=-1)
    even = f"{rows}.flat"
    if columns is not None:
        even, factors = f"{rows}.even", 1 / columns.divisors
        factors[columns.apart] = 0
        graph.initializer.append(numpy_helper.from_array(factors, f"{rows}.factors"))
        graph.initializer.append(numpy_helper.from_array(columns.apart, f"{rows}.places"))
        yield helper.make_node("Mul", [f"{rows}.flat", f"{rows}.factors"], [even])
        if len(columns.apart):
            yield helper.make_node("Gather", [f"{rows}.flat", f"{rows}.places"], [f"{rows}.apart"], axis=-1)
    yield helper.make_node("Abs", [even], [f"{rows}.abs"])
    yield helper.make_node("ReduceMax", [f"{rows}.abs", "int8.last_axis"], [f"{rows}.max"], keepdims=0)
    yield helper.make_node("Mul", [f"{rows}.max", "int8.unit"], [f"{rows}.step"])
    yield helper.make_node("Max", [f"{rows}.step", "int8.least"], [f"{rows}.scale"])
    yield helper.make_node("QuantizeLinear", [even, f"{rows}.scale", f"{shape}.middles"], [f"{rows}.int8"], axis=0)


def _multiply(graph: GraphProto, linear: _Linear, shape: str, columns: _Columns | None) -> Iterator[NodeProto]:
    """Yield the nodes of the product, and add its weights to the graph."""
    rows, result = linear.node.input[0], linear.node.output[0]
    name = f"{result}.weights"

    # 1. The weights: of measured columns those apart stay in fp32, the others are multiplied by what divides the rows.
    weights = linear.weights
    if columns is not None:
        graph.initializer.append(numpy_helper.from_array(weights[columns.apart], f"{name}.apart"))
        weights = weights * columns.divisors[:, None]
        weights[columns.apart] = 0
    scale = np.maximum(np.abs(weights).max(axis=0), np.finfo(np.float32).tiny) / np.float32(_LARGEST)
    integers = np.round(weights / scale).astype(np.int8)
    graph.initializer.append(numpy_helper.from_array(integers, f"{name}.int8"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
    graph.initializer.append(numpy_helper.from_array(np.array([len(scale)]), f"{name}.width"))

    # 2. The product in integers, times the scales of row and column.
    total = f"{result}.product"
    yield helper.make_node("MatMulInteger", [f"{rows}.int8", f"{name}.int8", "int8.zero_point"], [f"{result}.sum"])
    yield helper.make_node("DequantizeLinear", [f"{result}.sum", f"{rows}.scale"], [f"{result}.rows"], axis=0)
    yield helper.make_node("Mul", [f"{result}.rows", f"{name}.scale"], [total])

    # 3. The columns apart, the bias, and the shape that the product had.
    if columns is not None and len(columns.apart):
        yield helper.make_node("Gemm", [f"{rows}.apart", f"{name}.apart", total], [f"{result}.whole"])
        total = f"{result}.whole"
    if linear.bias:
        yield helper.make_node("Add", [total, linear.bias], [f"{result}.shifted"])
        total = f"{result}.shifted"
    yield helper.make_node("Concat", [f"{shape}.sizes", f"{name}.width"], [f"{result}.shape"], axis=0)
    yield helper.make_node("Reshape", [total, f"{result}.shape"], [result])


def _drop_unused(graph: GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
