"""A device's coupling map as plain pairs, for circuits that fit it without exchanging qubits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import DataError, must_be
from ._target import Edge, _connectivity

_EXPECTED = "the properties of a gate-model device: a mapping, a JSON file or a Braket device"


def couplings(properties: Mapping[str, Any] | str | Path | Any) -> list[Edge]:
    """Return the pairs of qubits that a device joins, numbered 0…N−1 in the order of its labels.

    Args:
        properties: The device's properties as a mapping, the path of a JSON file that holds them,
            or a Braket device, such as ``AwsDevice``.

    Returns:
        The pairs, smaller number first, ascending; what ``ansatz.couplings`` takes.

    Raises:
        DataError: The file is missing, or holds no device properties, or they join no qubits.
        ValueError: The device joins all its qubits, so that it has no coupling map.

    Source:
        Ours.

    Example:
        >>> graph = {"1": ["2", "7"], "2": ["1"], "7": ["1"]}
        >>> connectivity = {"fullyConnected": False, "connectivityGraph": graph}
        >>> couplings({"paradigm": {"qubitCount": 3, "connectivity": connectivity}})
        [(0, 1), (0, 2)]
    """
    data = _read(properties)
    try:
        labels, edges = _connectivity(data["paradigm"], data.get("standardized") or {})
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(must_be("properties", _EXPECTED, f"others ({error})")) from error
    if labels is None or edges is None:
        hint = "Any circuit fits it as it is."
        expected = "those of a device that joins some of its qubits"
        raise ValueError(must_be("properties", expected, "one that joins all", hint))
    if not edges:
        raise DataError(must_be("properties", _EXPECTED, "others (no pair of qubits is joined)"))
    number = {label: k for k, label in enumerate(labels)}
    return sorted((number[a], number[b]) for a, b in edges)


def _read(properties: Any) -> Mapping[str, Any]:
    """Return the JSON of a device's properties."""
    if isinstance(properties, Mapping):
        return properties
    try:
        if hasattr(properties, "properties"):
            text = properties.properties.json()
        else:
            text = Path(properties).read_text()
        data = json.loads(text)
        data = json.loads(data) if isinstance(data, str) else data
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise DataError(must_be("properties", _EXPECTED, f"{properties} ({error})")) from error
    if not isinstance(data, Mapping):
        raise DataError(must_be("properties", _EXPECTED, f"{properties}, which holds none"))
    return data
