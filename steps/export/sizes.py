"""Compute each size of a graph once.

torch's tracer writes down every `x.shape[i]` anew, in each layer: some 2,000 tiny nodes for SmolLM2-135M. What shape
inference knows of them is either a number or one of a few names, such as "tokens"; ONNX Runtime then merges what is
computed from the same sizes.
"""

from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper, shape_inference

_FEW = 64
"""Numbers in a constant that may be sizes."""
Sizes = tuple[int | str | None, ...]
"""Sizes of a tensor: a number, the name of one that inputs have, or not known."""


def known_sizes(model: ModelProto) -> dict[str, Sizes]:
    """Return what can be inferred of the sizes of each tensor from the inputs'."""
    graph = shape_inference.infer_shapes(_without_weights(model), data_prop=True).graph
    given = {size.dim_param for each in model.graph.input for size in each.type.tensor_type.shape.dim} - {""}
    found: dict[str, Sizes] = {}
    for each in (*graph.value_info, *graph.input, *graph.output):
        found[each.name] = tuple(
            dim.dim_value if dim.HasField("dim_value") else dim.dim_param if dim.dim_param in given else None
            for dim in each.type.tensor_type.shape.dim
        )
    return found


def _without_weights(model: ModelProto) -> ModelProto:
    """Return the model with its weights as inputs, which inference would copy."""
    graph = model.graph
    constants, inputs = [], list(graph.input)
    for tensor in graph.initializer:
        if np.prod(tensor.dims) <= _FEW:
            constants.append(tensor)
        else:
            inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    light = helper.make_graph(graph.node, graph.name, inputs, graph.output, constants)
    return helper.make_model(light, opset_imports=model.opset_import, ir_version=model.ir_version)


def share_sizes(model: ModelProto) -> None:
    """Replace what asks for a size by the number that it is, or by what asked for the same size before."""
    graph, sizes = model.graph, known_sizes(model)
    first: dict[int | str, str] = {}
    nodes: list[NodeProto] = []
    asked = dict(_asked(graph, sizes))
    for node in graph.node:
        size = asked.get(node.output[0])
        if isinstance(size, int):
            value = numpy_helper.from_array(np.array(size, np.int64))
            nodes.append(helper.make_node("Constant", [], node.output, value=value))
        elif size is not None and size in first:
            nodes.append(helper.make_node("Identity", [first[size]], node.output))
        else:
            nodes.append(node)
            if size is not None:
                first[size] = node.output[0]
    del graph.node[:]
    graph.node.extend(_used(nodes, {each.name for each in graph.output}))


def _used(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """Return the nodes that something depends on."""
    kept: list[NodeProto] = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(_read(node))
            kept.append(node)
    return kept[::-1]


def _read(node: NodeProto) -> Iterator[str]:
    """Yield the names that a node reads, those inside its branches too."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)


def _asked(graph: GraphProto, sizes: dict[str, Sizes]) -> Iterator[tuple[str, int | str]]:
    """Yield the name of each scalar that is a size of a tensor, and the size."""
    shapes = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Shape" and not node.attribute}
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    for node in graph.node:
        if node.op_type == "Gather" and node.input[0] in shapes and node.input[1] in constants:
            of, place = shapes[node.input[0]], constants[node.input[1]]
            size = sizes[of][int(place)] if sizes.get(of) and place.ndim == 0 else None
            if size is not None:
                yield node.output[0], size
