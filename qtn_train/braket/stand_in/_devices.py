"""The devices that the loopback service offers, and the price list that it serves.

Everything is written by hand after the public schemas (`braket.device_schema`): real in form,
round in numbers. Qubit labels, gates, ranges of shots and prices follow the captured devices.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

REGIONS = ("us-east-1", "us-west-1", "us-west-2", "eu-west-2", "eu-north-1")
PRICE_DATE = "2025-11-03T00:00:00Z"
MIN_SIMULATOR_MS = 3000  # a simulator task is billed for three seconds at least

PORTABLE = ["cnot", "h", "rx", "ry", "rz", "s", "si", "swap", "t", "ti", "x", "y", "z"]
SIMULATED = [*PORTABLE, "ccnot", "cz", "cphaseshift", "gpi", "gpi2", "i", "phaseshift", "prx"]
SIMULATED += ["v", "vi", "xx", "yy", "zz"]
NOISES = ["bit_flip", "depolarizing", "phase_flip", "two_qubit_depolarizing"]
NATIVE = {
    "iqm": ["cz", "prx"],
    "rigetti": ["rx", "rz", "cz"],
    "ionq": ["GPI", "GPI2", "ZZ"],
}
Edges = list[tuple[int, int]]


@dataclass(frozen=True)
class Device:
    """A device: what GetDevice answers, and what a task on it costs."""

    name: str
    arn: str
    provider: str
    capabilities: dict[str, Any]
    status: str = "ONLINE"
    per_task: Decimal = Decimal("0.3")
    per_shot: Decimal = Decimal(0)
    per_minute: Decimal = Decimal(0)
    listed: bool = True  # whether the price list knows it

    @property
    def kind(self) -> str:
        return "QPU" if ":device/qpu/" in self.arn else "SIMULATOR"

    @property
    def region(self) -> str | None:
        return self.arn.split(":")[3] or None

    @property
    def shots_range(self) -> tuple[int, int]:
        low, high = self.capabilities["service"]["shotsRange"]
        return low, high

    @property
    def n_qubits(self) -> int:
        return int(self.capabilities["paradigm"]["qubitCount"])

    def gates(self) -> set[str]:
        """Return the gates that the device compiles."""
        return set(self.capabilities["action"]["braket.ir.openqasm.program"]["supportedOperations"])

    def native_gates(self) -> set[str]:
        """Return the gates that a verbatim box may hold."""
        native = self.capabilities["paradigm"].get("nativeGateSet")
        return {gate.lower() for gate in native} if native else self.gates()

    def neighbours(self) -> dict[int, set[int]]:
        """Return the neighbours of each qubit; empty where all are connected."""
        graph = self.capabilities["paradigm"].get("connectivity", {}).get("connectivityGraph", {})
        return {int(q): {int(other) for other in others} for q, others in graph.items()}

    def labels(self) -> set[int]:
        """Return the physical qubits."""
        return set(self.neighbours()) or set(range(self.n_qubits))

    def price(self, shots: int, milliseconds: int) -> Decimal:
        """Return the price of one task in USD."""
        if self.kind == "QPU":
            return self.per_task + shots * self.per_shot
        return self.per_minute * max(milliseconds, MIN_SIMULATOR_MS) / 60_000

    def summary(self) -> dict[str, Any]:
        """Return the device as SearchDevices lists it."""
        return {
            "deviceArn": self.arn,
            "deviceName": self.name,
            "providerName": self.provider,
            "deviceType": self.kind,
            "deviceStatus": self.status,
        }


def _header(name: str, version: int = 1) -> dict[str, str]:
    return {"name": f"braket.{name}", "version": str(version)}


def _service(shots: tuple[int, int], location: str) -> dict[str, Any]:
    window = {"executionDay": "Everyday", "windowStartHour": "00:00", "windowEndHour": "23:59:59"}
    return {
        "braketSchemaHeader": _header("device_schema.device_service_properties"),
        "executionWindows": [window],
        "shotsRange": list(shots),
        "deviceLocation": location,
        "updatedAt": "2025-11-03T06:00:00",
        "getTaskPollIntervalMillis": 20,
    }


def _program(operations: list[str], pragmas: Iterable[str] = ()) -> dict[str, Any]:
    names = ["Sample", "Expectation", "Variance", "Probability"]
    return {
        "actionType": "braket.ir.openqasm.program",
        "version": ["1"],
        "supportedOperations": operations,
        "supportedPragmas": list(pragmas),
        "supportPhysicalQubits": True,
        "disabledQubitRewiringSupported": True,
        "supportedResultTypes": [{"name": n, "minShots": 1, "maxShots": 100_000} for n in names],
    }


def _program_set(executables: int, shots: int) -> dict[str, Any]:
    return {
        "actionType": "braket.ir.openqasm.program_set",
        "version": ["1"],
        "maximumExecutables": executables,
        "maximumTotalShots": shots,
    }


def _grid(labels: list[int], width: int) -> Edges:
    """Return the edges of a square lattice of this width over the labels, row by row."""
    edges = []
    for i, label in enumerate(labels):
        if (i + 1) % width and i + 1 < len(labels):
            edges.append((label, labels[i + 1]))
        if i + width < len(labels):
            edges.append((label, labels[i + width]))
    return edges


def _standardized(
    labels: list[int], edges: Edges, fidelities: tuple[float, float, float]
) -> dict[str, Any]:
    """Return calibration in the standard form: mean one-qubit, two-qubit, readout fidelity."""
    one, two, readout = fidelities

    def spread(mean: float, i: int) -> float:  # a calibration that differs from qubit to qubit
        return round(mean + (1 - mean) * (0.2 if i % 2 else -0.2), 6)

    def measured(name: str, value: float) -> dict[str, Any]:
        return {"fidelityType": {"name": name}, "fidelity": value, "standardError": None}

    benchmark = "RANDOMIZED_BENCHMARKING"
    time = {"value": 3.0e-5, "standardError": None, "unit": "S"}
    qubits = {
        str(q): {
            "T1": time,
            "T2": time,
            "oneQubitFidelity": [
                measured(benchmark, spread(one, i)),
                measured("READOUT", spread(readout, i)),
            ],
        }
        for i, q in enumerate(labels)
    }
    pairs = {
        f"{a}-{b}": {
            "twoQubitGateFidelity": [
                {
                    "gateName": "CZ",
                    **measured("INTERLEAVED_RANDOMIZED_BENCHMARKING", spread(two, i)),
                }
            ]
        }
        for i, (a, b) in enumerate(edges)
    }
    name = "device_schema.standardized_gate_model_qpu_device_properties"
    return {
        "braketSchemaHeader": _header(name),
        "oneQubitProperties": qubits,
        "twoQubitProperties": pairs,
    }


def _lattice(
    family: str,
    version: int,
    labels: list[int],
    width: int,
    shots: tuple[int, int],
    fidelities: tuple[float, float, float],
    program_set: tuple[int, int] = (100, 200_000),
) -> dict[str, Any]:
    """Return the capabilities of a QPU on a square lattice."""
    edges = _grid(labels, width)
    graph: dict[str, list[str]] = {str(q): [] for q in labels}
    for a, b in edges:
        graph[str(a)].append(str(b))
        graph[str(b)].append(str(a))
    return {
        "braketSchemaHeader": _header(
            f"device_schema.{family}.{family}_device_capabilities", version
        ),
        "service": _service(shots, "a laboratory"),
        "action": {
            "braket.ir.openqasm.program": _program([*PORTABLE, "cz", "prx"], ["verbatim"]),
            "braket.ir.openqasm.program_set": _program_set(*program_set),
        },
        "deviceParameters": {},
        "paradigm": {
            "braketSchemaHeader": _header("device_schema.gate_model_qpu_paradigm_properties"),
            "qubitCount": len(labels),
            "nativeGateSet": NATIVE[family],
            "connectivity": {"fullyConnected": False, "connectivityGraph": graph},
        },
        "standardized": _standardized(labels, edges, fidelities),
    }


def _ions(n_qubits: int) -> dict[str, Any]:
    """Return the capabilities of a QPU of trapped ions: all to all, one mean fidelity of a kind."""
    return {
        "braketSchemaHeader": _header("device_schema.ionq.ionq_device_capabilities"),
        "service": _service((100, 5000), "a laboratory"),
        "action": {
            "braket.ir.openqasm.program": _program([*PORTABLE, "zz"], ["verbatim"]),
            "braket.ir.openqasm.program_set": _program_set(100, 200_000),
        },
        "deviceParameters": {},
        "paradigm": {
            "braketSchemaHeader": _header("device_schema.gate_model_qpu_paradigm_properties"),
            "qubitCount": n_qubits,
            "nativeGateSet": NATIVE["ionq"],
            "connectivity": {"fullyConnected": True, "connectivityGraph": {}},
        },
        "provider": {
            "braketSchemaHeader": _header("device_schema.ionq.ionq_provider_properties"),
            "fidelity": {"1Q": {"mean": 0.9998}, "2Q": {"mean": 0.996}, "spam": {"mean": 0.995}},
            "timing": {
                "T1": 188.0,
                "T2": 0.95,
                "1Q": 1.3e-4,
                "2Q": 9.7e-4,
                "readout": 1.5e-4,
                "reset": 5.0e-5,
            },
        },
    }


def _simulator(n_qubits: int, extra: Iterable[str] = ()) -> dict[str, Any]:
    family = "device_schema.simulators.gate_model_simulator"
    operations = [*SIMULATED, *extra]
    return {
        "braketSchemaHeader": _header(f"{family}_device_capabilities"),
        "service": _service((0, 100_000), "a data centre"),
        "action": {"braket.ir.openqasm.program": _program(operations, ["verbatim"])},
        "deviceParameters": {},
        "paradigm": {
            "braketSchemaHeader": _header(f"{family}_paradigm_properties"),
            "qubitCount": n_qubits,
        },
    }


def _analog() -> dict[str, Any]:
    """Return the capabilities of an analog device: it takes no circuits."""
    detection = dict.fromkeys(
        "groundDetectionError rydbergDetectionError groundPrepError rydbergPrepErrorBest "
        "rydbergPrepErrorWorst".split(),
        0.05,
    )
    noise = dict.fromkeys(
        "rabiFrequencyErrorRel rabiFrequencyGlobalErrorRel rabiFrequencyInhomogeneityRel "
        "T1Single T1Ensemble T2StarSingle T2StarEnsemble T2EchoSingle T2EchoEnsemble T2RabiSingle "
        "T2RabiEnsemble T2BlockadedRabiSingle T2BlockadedRabiEnsemble detuningError "
        "detuningInhomogeneity".split(),
        1e-5,
    )
    lattice = dict.fromkeys(
        "positionErrorAbs sitePositionError atomPositionError fillingErrorTypical "
        "fillingErrorWorst vacancyErrorTypical vacancyErrorWorst atomLossProbabilityTypical "
        "atomLossProbabilityWorst atomCaptureProbabilityTypical atomCaptureProbabilityWorst "
        "atomDetectionErrorFalsePositiveTypical atomDetectionErrorFalsePositiveWorst "
        "atomDetectionErrorFalseNegativeTypical atomDetectionErrorFalseNegativeWorst".split(),
        0.001,
    )
    drive = dict.fromkeys(
        "rabiFrequencyResolution rabiFrequencySlewRateMax detuningResolution detuningSlewRateMax "
        "phaseResolution timeResolution timeDeltaMin timeMin".split(),
        1e-9,
    )
    ranges = {f"{name}Range": [0.0, 1.0] for name in ("rabiFrequency", "detuning", "phase")}
    corrections = [{"rampTime": 5e-8, "rabiCorrection": 0.9}]
    return {
        "braketSchemaHeader": _header("device_schema.quera.quera_device_capabilities"),
        "service": _service((1, 1000), "a laboratory"),
        "action": {
            "braket.ir.ahs.program": {"actionType": "braket.ir.ahs.program", "version": ["1"]}
        },
        "deviceParameters": {},
        "paradigm": {
            "braketSchemaHeader": _header("device_schema.quera.quera_ahs_paradigm_properties"),
            "qubitCount": 256,
            "lattice": {
                "area": {"width": 7.5e-5, "height": 7.6e-5},
                "geometry": {
                    "spacingRadialMin": 4e-6,
                    "spacingVerticalMin": 4e-6,
                    "positionResolution": 1e-7,
                    "numberSitesMax": 256,
                },
            },
            "rydberg": {
                "c6Coefficient": 5.42e-24,
                "rydbergGlobal": {**drive, **ranges, "timeMax": 4e-6},
            },
            "performance": {
                "lattice": lattice,
                "rydberg": {
                    "rydbergGlobal": {
                        **detection,
                        **noise,
                        "rabiAmplitudeRampCorrection": corrections,
                    }
                },
            },
        },
    }


def _make() -> dict[str, Device]:
    simulators, amazon = "arn:aws:braket:::device/quantum-simulator/amazon", "Amazon Braket"
    minute = Decimal("0.075")
    garnet = _lattice("iqm", 1, list(range(1, 21)), 5, (1, 20_000), (0.9991, 0.993, 0.97))
    emerald = _lattice("iqm", 1, list(range(1, 55)), 9, (1, 200_000), (0.9992, 0.994, 0.98))
    grid = [q for q in range(108) if q != 50]  # one qubit of the grid is out of use
    cepheus = _lattice("rigetti", 2, grid, 12, (10, 50_000), (0.999, 0.991, 0.95))
    ankaa = _lattice("rigetti", 2, list(range(84)), 12, (10, 50_000), (0.998, 0.98, 0.93))
    devices = [
        Device("SV1", f"{simulators}/sv1", amazon, _simulator(34), per_minute=minute),
        Device("dm1", f"{simulators}/dm1", amazon, _simulator(17, NOISES), per_minute=minute),
        Device("TN1", f"{simulators}/tn1", amazon, _simulator(50), "RETIRED"),
        _qpu("Garnet", "eu-north-1", "IQM", garnet, "0.00145"),
        _qpu("Emerald", "eu-north-1", "IQM", emerald, "0.0016", "OFFLINE"),
        _qpu("Cepheus-1-108Q", "us-west-1", "Rigetti", cepheus, "0.000425"),
        _qpu("Ankaa-3", "us-west-1", "Rigetti", ankaa, "0.0009", "RETIRED"),
        _unlisted("IBEX-Q1", "arn:aws:braket:eu-north-1::device/qpu/aqt/Ibex-Q1", "AQT"),
        _qpu("Forte-1", "us-east-1", "IonQ", _ions(36), "0.08"),
        _qpu("Aquila", "us-east-1", "QuEra", _analog(), "0.01"),
    ]
    return {device.arn: device for device in devices}


def _unlisted(name: str, arn: str, provider: str) -> Device:
    """Return a QPU whose price the list does not tell."""
    capabilities = _ions(12)
    capabilities["service"] = _service((1, 2000), "a laboratory")
    capabilities["paradigm"]["nativeGateSet"] = ["r", "rz", "rxx"]
    return Device(name, arn, provider, capabilities, listed=False)


def _qpu(
    name: str,
    region: str,
    provider: str,
    capabilities: dict[str, Any],
    shot: str,
    status: str = "ONLINE",
) -> Device:
    arn = f"arn:aws:braket:{region}::device/qpu/{provider.lower()}/{name}"
    shown = {"Forte-1": "Forte 1"}.get(name, name)
    return Device(shown, arn, provider, capabilities, status, per_shot=Decimal(shot))


DEVICES: Mapping[str, Device] = _make()


def find(name: str) -> Device:
    """Return the device of this name or ARN."""
    for device in DEVICES.values():
        if name.lower() in (device.name.lower(), device.arn.lower(), device.arn.split("/")[-1]):
            return device
    raise KeyError(name)


def price_list(devices: Iterable[Device] = DEVICES.values()) -> str:
    """Return the price list as AWS publishes it: five lines of metadata, then a table."""
    columns = ["SKU", "PriceDescription", "EffectiveDate", "Unit", "PricePerUnit", "Currency"]
    columns += [
        "Product Family",
        "Region Code",
        "DeviceName",
        "Device Name",
        "Version",
        "operation",
    ]
    out = io.StringIO()
    raw = csv.writer(out, quoting=csv.QUOTE_ALL)
    raw.writerow(["FormatVersion", "v1.0"])
    raw.writerow(["Disclaimer", "Prices of the local stand-in, for tests and tutorials only."])
    raw.writerow(["Publication Date", PRICE_DATE])
    raw.writerow(["Version", "20251103000000"])
    raw.writerow(["OfferCode", "AmazonBraket"])
    table = csv.DictWriter(out, columns, restval="", quoting=csv.QUOTE_ALL)
    table.writeheader()
    for number, row in enumerate(_prices(devices)):
        common = {"SKU": f"SKU{number:04d}", "EffectiveDate": PRICE_DATE, "Currency": "USD"}
        table.writerow(common | {"PriceDescription": row["Product Family"]} | row)
    return out.getvalue()


def _prices(devices: Iterable[Device]) -> Iterable[dict[str, str]]:
    for device in devices:
        name = device.arn.split("/")[-1]
        if not device.listed:
            continue
        if device.kind == "QPU":
            for unit, price, suffix in (
                ("Quantum Task", device.per_task, ""),
                ("Shots", device.per_shot, "-Shot"),
            ):
                row = {
                    "Unit": unit,
                    "PricePerUnit": f"{price:f}",
                    "Region Code": str(device.region),
                }
                yield row | {"Product Family": f"Quantum Task{suffix}", "DeviceName": name}
                managed = f"Braket Managed Jobs QPU Task{suffix.replace('-', ' ')}"
                yield row | {"Product Family": managed, "Device Name": name}
        elif device.status != "RETIRED":
            for region in REGIONS:
                row = {"Unit": "minutes", "PricePerUnit": f"{device.per_minute:f}"}
                row |= {"Region Code": region, "Version": name.upper()}
                yield row | {"Product Family": "Simulator Task", "operation": "CompleteTask"}
                managed = "Braket Managed Jobs Simulator Task"
                yield row | {"Product Family": managed, "operation": "Managed-Jobs"}
