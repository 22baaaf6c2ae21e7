"""The devices of the loopback service without the service: as emulators, and as QPUs."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from qtn_train.braket.device._devices import ProgramSetLimits, Target, resolve
from qtn_train.braket.stand_in import BraketService

LIMITS = ProgramSetLimits(100, 200_000)


def emulator(name: str, folder: Path, **changes: Any) -> Target:
    """A device as an emulator; changes replace parts of its properties."""
    path = folder / "properties.json"
    path.write_text(json.dumps(BraketService.properties(name) | changes))
    return resolve(f"emulator:{path}")


def qpu(name: str, folder: Path) -> Target:
    """A device as it would be found by its name; nothing can be sent to it."""
    arn = BraketService.arn(name)
    target = emulator(name, folder)
    return dataclasses.replace(target, kind="qpu", arn=arn, name=name, program_sets=LIMITS)
