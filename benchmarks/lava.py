"""The nets of the SEW paper in Lava: python benchmarks/lava.py [case ...] [--speed | --runs N | --table]

For each case a net with random weights and BatchNorm statistics of its activity, so that every layer fires, is
exported to a bundle and run in real Lava with every layer recorded. What Lava recorded must equal the fast simulator's
spikes, value for value; the exit code is 1 otherwise. Printed, and written to benchmarks/lava.json, are for each case:

- compile: from the start of the run until Lava's compiler is done, reading and checking the program included;
- start: until the first cycle is done; ms a cycle: from there to the last;
- all: until spikes.npz is written; memory: the peak of all processes of the run together, shared pages counted once.

--speed runs cases (18-32 if none is named) on many samples in turn in Lava, as the same blocks in one process without
Lava (lava_plain.py), and for some cycles in Lava with its stock processes. --runs N runs one small bundle N times and
says what grows. --table prints the results that are written there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from lava_nets import CASES, Case, export_case, samples_of
from lava_watch import watched

from snn2hw.engines import fast
from snn2hw.errors import LavaError
from snn2hw.exporters.lava.environment import LAVA_VERSION, clean_variables, ensure_environment
from snn2hw.exporters.lava.host import run_lava
from snn2hw.verification.comparison import compare

PLAIN = Path(__file__).with_name("lava_plain.py")
RESULTS = Path(__file__).with_name("lava.json")


def measure(case: Case) -> dict[str, Any]:
    """Export a case, run it in Lava, compare every value; what was measured, with `verdict`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, bundle = export_case(case, folder)
        samples = samples_of(case, case.samples, 1)
        np.savez(folder / "x.npz", x=samples.x)
        with watched() as watch:
            run_lava(bundle, folder / "x.npz", folder / "spikes.npz")
            end = time.monotonic()
        expected = fast.simulate(program, samples)
        with np.load(folder / "spikes.npz") as actual:
            result = compare(("lava", "program"), program, expected=expected, actual=actual, exact=True)
    silent = [node.name for node in program.graph.recorded if not expected[node.name].any()]
    if result.mismatches or len(result.layers) != len(program.graph.recorded) + 1:
        verdict = f"DIFFERS in {result.mismatches} values, first {result.first()}"
    elif silent:
        verdict = f"SILENT: {', '.join(silent)}"
    else:
        verdict = "exact"
    return {
        "processes": watch.processes,
        "compile_s": round(watch.compiled - watch.begun, 2),
        "start_s": round(watch.first[0] - watch.compiled, 2),
        "cycles": watch.last[1],
        "ms_a_cycle": round(watch.ms_a_cycle, 2),
        "memory_gb": round(watch.memory / 1e9, 2),
        "all_s": round(end - watch.begun, 1),
        "layers": len(result.layers),
        "values": result.compared,
        "verdict": verdict,
    }


def speed(case: Case, samples: int, stock_cycles: int) -> dict[str, Any]:
    """ms a cycle of fused Lava, of one plain process, and of Lava's stock processes in their first cycles."""
    case = replace(case, samples=samples)
    fused, plain = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, bundle = export_case(case, folder)
        np.savez(folder / "x.npz", x=samples_of(case, samples, 1).x)
        for _ in range(3):
            plain.append(_plain(bundle, folder))
            with watched() as watch:
                run_lava(bundle, folder / "x.npz", folder / "spikes.npz")
            fused.append(round(watch.ms_a_cycle, 2))
        stock = _stock(bundle, folder, stock_cycles) if stock_cycles else None
    times = {"samples": samples, "fused_ms": fused, "plain_ms": plain, "stock_ms": stock, "stock_cycles": stock_cycles}
    return times | {"fused_to_plain": round(median(fused) / median(plain), 2)}


def _plain(bundle: Path, folder: Path) -> float:
    """ms a cycle of the same blocks without Lava."""
    command = [str(ensure_environment()), str(PLAIN), str(bundle), str(folder / "x.npz")]
    done = subprocess.run(command, env=clean_variables(), capture_output=True, text=True, check=True)
    return round(float(json.loads(done.stdout)["ms_a_cycle"]), 2)


def _stock(bundle: Path, folder: Path, cycles: int) -> float:
    """ms a cycle of Lava's Conv, Dense, LIF."""

    class Enough(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > cycles:
            raise Enough

    with watched() as watch, suppress(Enough):
        run_lava(bundle, folder / "x.npz", folder / "spikes.npz", processes="structural", on_progress=stop)
    return round(watch.ms_a_cycle, 1)


def repeat(runs: int) -> dict[str, Any]:
    """Run a small bundle many times; what memory, descriptors and shared memory are after the first and last runs."""
    case = Case("18")
    states: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, bundle = export_case(case, folder)
        np.savez(folder / "x.npz", x=samples_of(case, 1, 1).x)
        for number in range(1, runs + 1):
            with watched() as watch:
                run_lava(bundle, folder / "x.npz", folder / "spikes.npz")
                left = list(watch.folder.iterdir())
            states.append(
                {
                    "memory of the run, MB": round(watch.memory / 1e6),
                    "memory of this process, MB": round(_resident() / 1e6),
                    "its descriptors": len(os.listdir("/proc/self/fd")),
                    "its children": len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
                    "objects in /dev/shm": len(list(Path("/dev/shm").iterdir())),
                    "temporary files": len(left),
                }
            )
            if number % 10 == 1 or number == runs:
                print(f"run {number}: {states[-1]}", flush=True)
    early, late = states[1:6], states[-5:]
    return {
        "runs": runs,
        "run 2": states[1],
        "last run": states[-1],
        "grown": [key for key in states[0] if min(s[key] for s in late) > 1.05 * max(s[key] for s in early)],
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def keep(kind: str, key: str, result: dict[str, Any]) -> None:
    """Put a result into benchmarks/lava.json, with the machine, the versions and the day."""
    document = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    cores = len(os.sched_getaffinity(0))
    document.setdefault(kind, {})[key] = result | {"cores": cores, "date": str(date.today())}
    document["machine"] = {"processor": _processor(), "lava-nc": LAVA_VERSION, **_lava_versions()}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")


def _processor() -> str:
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def _lava_versions() -> dict[str, str]:
    script = "import json, platform, numpy; print(json.dumps([platform.python_version(), numpy.__version__]))"
    done = subprocess.run([ensure_environment(), "-c", script], capture_output=True, text=True, check=True)
    return dict(zip(("python", "numpy"), json.loads(done.stdout), strict=True))


def show(document: dict[str, Any]) -> None:
    """Print the tables of docs/lava.md."""
    print("| net | processes | compile s | start s | cycles | ms a cycle | memory GB | all s | values | verdict |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for key, result in sorted(document.get("cases", {}).items(), key=lambda item: list(CASES).index(item[0])):
        cells = [result["processes"], f"{result['compile_s']:.1f}", f"{result['start_s']:.1f}", result["cycles"]]
        cells += [f"{result['ms_a_cycle']:.1f}", f"{result['memory_gb']:.1f}", f"{result['all_s']:.1f}"]
        cells += [f"{result['values']:,} in {result['layers']} layers", result["verdict"]]
        print("| " + " | ".join(map(str, [CASES[key], *cells])) + " |")
    print("\n| net | Lava, fused | one plain process | ratio | stock processes | ratio |\n|---|---|---|---|---|---|")
    for key, result in document.get("speed", {}).items():
        fused, stock = median(result["fused_ms"]), result["stock_ms"]
        cells = [f"{fused:.1f} ms", f"{median(result['plain_ms']):.1f} ms", result["fused_to_plain"]]
        cells += [f"{stock:.0f} ms", f"{stock / fused:.0f}"] if stock else ["", ""]
        print("| " + " | ".join(map(str, [replace(CASES[key], samples=result["samples"]), *cells])) + " |")


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all, if none is named")
    parser.add_argument("--speed", action="store_true", help="the ratios to one process and to stock processes")
    parser.add_argument("--stock-cycles", type=int, default=4, help="of --speed; 0 leaves the stock processes out")
    parser.add_argument("--samples", type=int, default=32, help="of --speed")
    parser.add_argument("--runs", type=int, help="run a small bundle so many times")
    parser.add_argument("--table", action="store_true", help="print the results that are kept")
    options = parser.parse_args()
    if options.table:
        show(json.loads(RESULTS.read_text()))
        return 0
    if options.runs:
        result = repeat(options.runs)
        keep("runs", "18-32", result)
        print(f"{options.runs} runs: grown are {result['grown'] or 'none'}")
        return bool(result["grown"])
    exact = True
    for key in options.cases or (["18-32"] if options.speed else CASES):
        if options.speed:
            result = speed(CASES[key], options.samples, options.stock_cycles)
            keep("speed", key, result)
        else:
            try:
                result = measure(CASES[key])
            except LavaError as error:
                result = {"verdict": f"FAILED: {error}"}
            if result["verdict"] == "exact":
                keep("cases", key, result)
            else:
                exact = False
        print(f"{CASES[key]}: {result}", flush=True)
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
