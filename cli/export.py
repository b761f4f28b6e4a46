"""`ez export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.errors import one_line
from cli.evaluate import CHECKPOINT


@one_line
def export(
    checkpoint: Annotated[Path, CHECKPOINT],
    out: Annotated[Path, typer.Option(help="The folder to make.", show_default=False)],
    opset: Annotated[int, typer.Option(help="Version of the ONNX operators.")] = 17,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an older export.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The last line of stdout is one JSON object.")
    ] = False,
) -> None:
    """Writes the network as ONNX, to run anywhere: root.onnx, step.onnx, contract.json.

    Before they stay, ONNX Runtime and the network are compared on random observations.
    """
    from rllib_ez.core.onnx_export import export_agent

    entries = export_agent(checkpoint, out, opset=opset, overwrite=overwrite).entries
    parity = entries["parity"]
    if as_json:
        print(json.dumps({"out": str(out), "opset": opset, "parity": parity}), flush=True)
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print("largest differences from the network, as shares of the largest entry:")
    for name, share in parity["largest_difference"].items():
        console.print(f"  {name:<13} {share:.1e}  (allowed {parity['allowed'][name]:.0e})")
    files = ", ".join([*entries["files"], "contract.json"])
    console.print(
        f"[bold]{out}[/]: {files}, trained for {entries['checkpoint']['num_env_steps']:,} steps"
    )
