"""ONNX export, checked with onnxruntime before it is called done."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from .._files import write_atomically
from ..errors import MissingExtra, QtnTrainError, needs_extra

TOLERANCE = 1e-5


def export_onnx(net: nn.Module, example: Tensor, path: str | Path) -> float:
    """Write a network as ONNX, with the batch size left open, and compare its scores.

    Args:
        net: A plain network, for example from :meth:`QuantumTrain.export`.
        example: At least two inputs, shape ``(batch, …)``.
        path: The file to write.

    Returns:
        The largest difference between the scores of torch and of onnxruntime.

    Raises:
        MissingExtra: The extra ``onnx`` is not installed.
        QtnTrainError: The scores differ by more than 1e-5; nothing is written.
        OSError: The folder is not writable.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra(needs_extra("ONNX export needs", "onnx", error)) from error
    net = net.cpu().eval()
    example = example.cpu()
    batch = torch.export.Dim("batch")
    with _quiet():
        program = torch.onnx.export(
            net,
            (example,),
            input_names=["x"],
            output_names=["scores"],
            dynamic_shapes=({0: batch},),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise QtnTrainError("torch made no ONNX program of this network.")
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = net(example).numpy()
    got = session.run(None, {"x": example.numpy()})[0]
    worst = float(abs(got - expected).max())
    if not worst <= TOLERANCE:
        raise QtnTrainError(f"ONNX scores must agree to {TOLERANCE}; got a difference of {worst}.")
    write_atomically(Path(path), content)
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's own warnings: missing torchvision, deprecated functions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            # A recurrent layer holds its weights twice; the scores are compared in any case.
            warnings.filterwarnings("ignore", "The tensor attribute", UserWarning)
            yield
    finally:
        logger.setLevel(level)
