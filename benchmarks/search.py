"""Times our searches, beside LightZero's and mctx's where they are installed.

    python -m benchmarks.search                                       # ours alone
    python -m benchmarks.search --peers-envs /tmp/peers/envs          # in turn with both peers
    python -m benchmarks.search --filter 'kind=="net" and B==8' --repeats 3 --out /tmp/search

The peers' scripts are those of ../shared/peers (its README.md says how to make their
environments); where that folder is not there, `benchmarks/search_runner.py` runs the same cases.
Writes benchmarks/results/search/: raw.json (machine, versions, commit, seeds, every case),
table.md, search.png.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.search_report import draw, table
from benchmarks.search_runner import METHODS, run_alone

HERE = Path(__file__).parent
PEERS = HERE.parents[1] / "shared" / "peers"
WORKER = HERE / "search_worker.py"
# Name, folder of its environment, script in the peers' folder.
PEER_WORKERS = (("lightzero", "lz", "worker_lightzero.py"), ("mctx", "mx", "worker_mctx.py"))
SEEDS = {"weights": 0, "observations": 2, "tables": 1, "searches": "0, counted on by search"}


def main() -> None:
    """Runs the cases and writes the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--peers-envs", type=Path, help="folder with the peers' lz/ and mx/")
    parser.add_argument("--peers", type=Path, default=PEERS, help="folder with run_peers.py")
    parser.add_argument("--threads", type=int, default=1, help="of each worker; 0: its own choice")
    parser.add_argument("--repeats", type=int, default=7, help="timed blocks of each method")
    parser.add_argument("--min-s", type=float, default=0.1, help="seconds of a block, at least")
    parser.add_argument("--filter", default="", help="expression over B, A, S, kind, model, values")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "search")
    args = parser.parse_args()
    machine = describe_machine()
    os.environ["EZ_PEERS"] = str(args.peers.absolute())  # for our worker
    if (args.peers / "run_peers.py").is_file():
        raw = run_with_peers(args)
    elif args.peers_envs is not None:
        parser.error(f"--peers must hold run_peers.py, got {args.peers}")
    else:
        raw = run_alone(
            WORKER,
            threads=args.threads,
            repeats=args.repeats,
            min_seconds=args.min_s,
            case_filter=args.filter,
        )
    raw["machine"], raw["seeds"] = machine, SEEDS
    raw["command"] = "python -m benchmarks.search " + shlex.join(sys.argv[1:])
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "raw.json").write_text(json.dumps(raw, indent=1) + "\n")
    (args.out / "table.md").write_text(table(raw))
    draw(raw, args.out / "search.png")
    print(table(raw))


def run_with_peers(args: argparse.Namespace) -> dict[str, Any]:
    """Ours as one more worker of run_peers.py, the peers' beside it where they are installed."""
    command = [sys.executable, str(args.peers / "run_peers.py"), "--no-ptree"]
    command += ["--threads", str(args.threads), "--repeats", str(args.repeats)]
    command += ["--min-s", str(args.min_s), "--filter", args.filter]
    command += ["--max-repeats", str(max(args.repeats, 15))]
    command += ["--worker", f"rllib_ez={sys.executable}:{WORKER}"]
    for kind in ("tree", "net"):
        for method in METHODS:
            command += ["--method", f"rllib_ez:{kind}:{method}"]
    for name, folder, script in PEER_WORKERS if args.peers_envs is not None else ():
        python = args.peers_envs.absolute() / folder / "bin" / "python"
        command += ["--worker", f"{name}={python}:{args.peers / script}"]
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "raw.json"
        subprocess.run([*command, "--out", str(out)], check=True)
        return dict(json.loads(out.read_text()))


if __name__ == "__main__":
    main()
