"""What a run survives: `python -m tests.faults.run kills --times 40`, `... disk --times 40`, `... files`.

Every trial disturbs a run of all probes over two collections, gives the same command again, and holds the report against that
of an undisturbed run, byte for byte (times and memory aside).
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults import runs

PROBES = """
load-check retrieval length-bias length-sweep distractor-hijacking similarity-tail gradient-gini token-use token-type compression
minimal-pairs query-noise near-duplicates language-preference official-scores
""".split()  # noqa: SIM905
SMALL = {
    "synthetic-routing": 'retrained = false, easy = false, epochs = 2, seeds = 2, lengths = [32, 64], poolings = ["maxsim", "mean"]',
    "smart-gain": "seeds = 1, steps = 2, documents = 100, folds = 2",
    "fine-tune": "seeds = 1, steps = 2, documents = 100",
    "projection-heads": "seeds = 1, steps = 2, documents = 100",
}
OFTEN = 40


class Scene:
    """A folder with the suite, and the report that an undisturbed run makes."""

    def __init__(self, folder: Path, limit: int) -> None:
        """Make the undisturbed run."""
        self.folder, self.limit = folder, limit
        steps = [f'[[steps]]\nprobe = "{name}"\n' for name in PROBES]
        steps += [f'[[steps]]\nprobe = "{name}"\nparameters = {{ {parameters} }}\n' for name, parameters in SMALL.items()]
        (folder / "all.toml").write_text('name = "all"\nversion = 1\ndescription = ""\n' + "".join(steps), encoding="utf-8")
        place = self.place("undisturbed")
        ended = self.run(place)
        if ended.code:
            sys.exit(ended.printed)
        self.undisturbed, self.seconds = runs.report(place / "out"), ended.seconds
        self.bytes = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())

    def place(self, name: str) -> Path:
        """Make the folder of a trial."""
        place = self.folder / name
        place.mkdir()
        return place

    def run(self, place: Path, kill_after: float | None = None) -> runs.Ended:
        """Run the suite over two collections."""
        data = ["--data", "builtin:facts", "--data", "builtin:facts?seed=7", "--limit", str(self.limit)]
        suite = str(self.folder / "all.toml")
        return runs.run(place, "run", "--suite", suite, *data, "--out", str(place / "out"), kill_after=kill_after)

    def verdict(self, place: Path, ended: runs.Ended) -> str:
        """Say how the report after a disturbance compares with the undisturbed one."""
        if ended.code:
            return f"exit {ended.code}: {ended.printed.strip()[-300:]}"
        left = [path for path in (place / "out").rglob("*") if path.name == "parts" or path.suffix in {".tmp", ".lock"}]
        if left:
            return f"left behind: {left[0]}"
        return "same" if runs.report(place / "out") == self.undisturbed else "another report"


def kills(scene: Scene, times: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Kill a run at a random moment, and run again."""
    for number in range(times):
        place = scene.place(f"kill-{number}")
        moment = rng.uniform(0, scene.seconds)
        killed = scene.run(place, kill_after=moment)
        parts = len(list((place / "out" / "parts").glob("*.json"))) if (place / "out").exists() else 0
        how = f"killed after {moment:.1f} s, {parts} pieces kept" if killed.code == -9 else f"ended first ({killed.code})"
        yield how, scene.verdict(place, scene.run(place))
        shutil.rmtree(place)


def disk(scene: Scene, times: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Let the disk be full at a random point of a run, make room, and run again."""
    place = scene.place("disk")
    for _ in range(times):
        room = rng.randrange(2**16, scene.bytes)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            sys.exit("A small file system cannot be mounted here: run this as root.")
        try:
            full = scene.run(place)
            clear = full.code in {3, 4} and "cannot be written" in full.printed and "Traceback" not in full.printed
            subprocess.run(["mount", "-o", f"remount,size={4 * scene.bytes}", str(place)], check=True)  # noqa: S607 - fixed words
            again = scene.verdict(place, scene.run(place))
            fits = full.code == 0
            yield f"{room / 2**20:.1f} MiB: exit {full.code}", again if clear or fits else f"unclear: {full.printed.strip()[-300:]}"
        finally:
            subprocess.run(["umount", str(place)], check=True)  # noqa: S607 - fixed words


def files(scene: Scene, times: int, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Spoil one file after the other of a cache, and of what a killed run kept, and run again."""
    whole, killed = scene.folder / "undisturbed", scene.place("killed")
    scene.run(killed, kill_after=0.8 * scene.seconds)
    spoilt = [(whole, path) for path in sorted((whole / "cache").rglob("*")) if path.is_file()]
    spoilt += [(killed, path) for path in sorted(killed.rglob("*")) if path.is_file()]
    for number, (source, path) in enumerate(spoilt[:times] if times else spoilt):
        place = scene.folder / f"file-{number}"
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("out") if source == whole else None)
        how = _spoil(place / path.relative_to(source), rng)
        yield f"{path.relative_to(source)} {how}", scene.verdict(place, scene.run(place))
        shutil.rmtree(place)


def _spoil(path: Path, rng: random.Random) -> str:
    body = bytearray(path.read_bytes())
    how = rng.choice(["cut in half", "one bit turned", "empty", "gone"]) if body else "gone"
    if how == "gone":
        path.unlink()
        return how
    if how == "one bit turned":
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    path.write_bytes(body[: len(body) // 2] if how == "cut in half" else b"" if how == "empty" else body)
    return how


def main() -> int:
    """Print every trial, and exit 1 where one did not end in the same report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "disk", "files"])
    parser.add_argument("--times", type=int, default=None, help=f"trials; default: {OFTEN}, or every file")
    parser.add_argument("--limit", type=int, default=24, help="queries of each collection")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    trials = {"kills": kills, "disk": disk, "files": files}[arguments.what]
    often = arguments.times if arguments.times is not None else 0 if arguments.what == "files" else OFTEN
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), arguments.limit)
        print(f"undisturbed: {scene.seconds:.1f} s, {scene.bytes / 2**20:.1f} MiB", flush=True)
        good, count = 0, 0
        for how, verdict in trials(scene, often, random.Random(arguments.seed)):  # noqa: S311 - no secret
            count += 1
            good += verdict == "same"
            print(f"{count:3}  {how}: {verdict}", flush=True)
    print(f"{good} of {count} ended in the same report")
    return 0 if good == count else 1


if __name__ == "__main__":
    sys.exit(main())
