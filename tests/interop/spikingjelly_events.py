"""SpikingJelly writes its caches of an event set: `python spikingjelly_events.py MODULE CLASS ROOT TIMESTEPS`.

ROOT/extract holds the published files; SpikingJelly's code writes ROOT/events_np and two ROOT/frames_number_... Its
datasets import torchvision, torchaudio and tqdm, of which this needs nothing: modules stand in for them.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any


class StandIn(ModuleType):
    """A module in which every name is a class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


for missing in ("torchvision", "torchvision.datasets", "torchvision.datasets.utils", "torchvision.transforms", "tqdm"):
    sys.modules[missing] = StandIn(missing)
spikingjelly = find_spec("spikingjelly")
assert spikingjelly is not None and spikingjelly.submodule_search_locations
package = ModuleType("spikingjelly.datasets")  # without its __init__, which imports every data set
package.__path__ = [str(Path(spikingjelly.submodule_search_locations[0], "datasets"))]
sys.modules[package.__name__] = package

module, name, root, timesteps = sys.argv[1:]
dataset = getattr(__import__(f"spikingjelly.datasets.{module}", fromlist=[name]), name)
from spikingjelly.datasets.base import FrameFixedNumberBuilder, NeuromorphicDatasetConfig  # noqa: E402

raw = Path(root, "events_np")
raw.mkdir()
dataset.create_raw_from_extracted(Path(root, "extract"), raw)
for by in ("number", "time"):
    config = NeuromorphicDatasetConfig(
        root=Path(root), train=True, data_type="frame", frames_number=int(timesteps), split_by=by
    )
    FrameFixedNumberBuilder(config, raw, *dataset.get_H_W()).build()
