"""Measure how large the columns of what linear layers read become."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from rewardlab.engine.session import Session
from rewardlab.tokens import TokenTree
from steps.export.int8 import Floats, linear_inputs


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
    names = linear_inputs(opened.graph)
    opened.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    onnx.save(opened, target)
    return names
