"""From nothing to a report: a net is trained, looked at, deployed to Lava, verified and priced.

    python examples/from_training_to_chip.py digits
    python examples/from_training_to_chip.py moving-digits

Half a minute for digits and two for moving-digits; what it wrote stays in the folder `chip-DATA`, or in the one that is
named behind the epochs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from demo import run

CONNECT = "ADD"
SAMPLES = "40"  # to verify in Lava


def main(data: str, epochs: str, folder: Path) -> None:
    """Each command as one would type it."""
    folder.mkdir(parents=True, exist_ok=True)
    model, bundle, verified = (str(folder / name) for name in ("net.pt", "net.lava", "verified.json"))
    run("train", data, "--connect", CONNECT, "--epochs", epochs, "-o", model, "--log", str(folder / "log.csv"))
    run("analyse", model, "--samples", SAMPLES, "-o", str(folder / "analysis.html"))
    run("export", model, "--target", "lava", "-o", bundle)
    run("verify", bundle, "--data", data, "--samples", SAMPLES, "--saturate", "--json", verified)
    run("report", bundle, "--data", data, "--verify", verified, "-o", str(folder / "report"))


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else "digits"
    many = sys.argv[2] if len(sys.argv) > 2 else "20"
    main(chosen, many, Path(sys.argv[3] if len(sys.argv) > 3 else f"chip-{chosen}"))
