"""Run all benchmarks, or those that are named, and write what they say into the README's table.

    python tests/benchmarks/all.py --readme
    python tests/benchmarks/all.py --readme --only startup memory
    python tests/benchmarks/all.py --readme --only scaling -- --documents 1000 10000

A row is the benchmark's last line and whether what is promised was held. Rows of benchmarks that are not run stay as they are. With
--shared FOLDER, a ColBERT and Cranfield are read there; without, vectors are random ones of that shape.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = ("scoring", "battery", "growth", "injections", "memory", "scaling", "startup", "board")
WITH_MODEL = ("scoring", "battery", "injections")
BEGIN, END = "<!-- benchmarks: python tests/benchmarks/all.py --readme -->\n", "<!-- end of benchmarks -->\n"
ROW = re.compile(r"(?m)^\| `(\w+)` \|.*\n")


def main() -> int:
    arguments = _arguments()
    console = Console(width=140)
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {found[1]: found[0] for found in ROW.finditer(table)}
    held = True
    for name in arguments.only or NAMES:
        said, code = _run(name, arguments.shared, arguments.options)
        rows[name] = f"| `{name}` | {said} | {'yes' if code == 0 else 'no'} |\n"
        held = held and code == 0
        console.print(rows[name].strip(), soft_wrap=True)
    if arguments.readme:
        body = "".join(rows[name] for name in NAMES if name in rows)
        readme.write_text(f"{before}{BEGIN}| benchmark | what it said | held |\n| --- | --- | --- |\n{body}{END}{after}", encoding="utf-8")
    return 0 if held else 1


def _run(name: str, shared: Path | None, options: list[str]) -> tuple[str, int]:
    """Return a benchmark's last line, and its exit code."""
    call = [sys.executable, str(HERE / f"{name}.py"), *options]
    if shared and name in WITH_MODEL:
        call += ["--model", str(shared / "models" / "minilm-colbert"), "--data", str(shared / "data" / "cranfield")]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | {"PYTHONPATH": paths})
    lines = done.stdout.strip().splitlines()
    return (lines[-1].replace("|", "/") if lines else f"ended with exit code {done.returncode}"), done.returncode


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, help="run these only")
    parser.add_argument("--shared", type=Path, help="folder with models/minilm-colbert and data/cranfield")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("options", nargs="*", help="after --: options of the benchmarks that are run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
