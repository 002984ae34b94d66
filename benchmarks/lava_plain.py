"""The blocks of a bundle one after the other in this process, without Lava: python3.10 lava_plain.py BUNDLE X.npz

Prints JSON: the milliseconds that a cycle takes. For benchmarks/lava.py.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in each Lava process
bundle, given = Path(sys.argv[1]), Path(sys.argv[2])
sys.path.insert(0, str(bundle / "lava"))

import numpy as np  # noqa: E402
from engine import Job, RegionEngine  # noqa: E402
from files import create_recordings, read_payloads, recording_paths  # noqa: E402
from program import lava_order  # noqa: E402
from program_npz.reader import read_program  # noqa: E402

program = read_program(bundle / "program.npz")
payloads = read_payloads(given, program, None, saturate=True)
with tempfile.TemporaryDirectory() as name:
    create_recordings(Path(name), program, len(payloads))
    job = Job(program, len(payloads), recording_paths(Path(name), program))
    engines = [RegionEngine(job, region) for region in program.regions]
    cycles, times = program.cycles(len(payloads)), []
    for cycle in range(1, cycles + 1):
        times.append(time.perf_counter())
        sample, step = divmod(cycle - 1, program.timesteps)
        payload = np.zeros(program.input.shape, np.int32)
        if sample < len(payloads):
            payload = payloads[sample, step % payloads.shape[1]]
        emitted = {program.input.name: lava_order(payload)}
        for engine in engines:
            engine.begin()
            engine.finish(emitted[engine.region.entry])
            emitted[engine.region.exit] = engine.output
    logits = np.load(job.recordings["logits"])
print(json.dumps({"ms_a_cycle": 1e3 * (times[-1] - times[0]) / (cycles - 1), "logits": logits.tolist()}))
