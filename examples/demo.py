"""The demo: a trained SEW ResNet leaves PyTorch, becomes integers, runs in Lava, and is proved equal spike for spike.

Run it with `make demo`, or `python examples/demo.py [ADD|AND|IAND|spiking] [number of test images]`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from snn2hw.cli import main
from snn2hw.errors import BackendError
from snn2hw.exporters import find_runnable

CHECKPOINTS = Path(__file__).parent / "digits"


def run(*arguments: str) -> None:
    """Show a command as one would type it, run it, and stop with its exit code if it fails."""
    print(f"\n$ snn2hw {' '.join(arguments)}", flush=True)
    if code := main(list(arguments)):
        sys.exit(code)


def options_without_lava() -> list[str]:
    """What verify is told where Lava cannot be had, which is said in a line; nothing where it can."""
    try:
        find_runnable("lava").prepare(lambda text: print(text, file=sys.stderr, flush=True))
    except BackendError as error:
        reason = str(error).splitlines()[0]
        print(f"\nLava cannot be had here, so the demo verifies without it. {reason}", flush=True)
        return ["--without", "lava"]
    return []


def demo(connect: str, images: int) -> None:
    """Export one of the shipped nets, look at it, and verify it on real test images."""
    started = time.monotonic()
    model = str(CHECKPOINTS / f"{connect.lower()}.pt")
    with tempfile.TemporaryDirectory(prefix="snn2hw-demo-") as folder:
        bundle = str(Path(folder, f"{connect.lower()}.lava"))
        run("export", model, "--target", "lava", "-o", bundle)
        run("inspect", bundle)
        run("verify", bundle, "--data", "digits", "--samples", str(images), *options_without_lava())
    print(f"\nDone in {time.monotonic() - started:.0f} s. Next: docs/worked-example.md.")


if __name__ == "__main__":
    demo(sys.argv[1] if len(sys.argv) > 1 else "ADD", int(sys.argv[2]) if len(sys.argv) > 2 else 120)
