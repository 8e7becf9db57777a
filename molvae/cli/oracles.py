"""`molvae oracle`: what can be measured, and how a score behaves before any budget is spent on it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from molvae.cli.terminal import MISTAKE, Verbs, plain_table, say

app = typer.Typer(
    cls=Verbs, no_args_is_help=True, rich_markup_mode=None, help="List the built-in oracles, or test one of your own."
)

# Ten drugs that differ in size, charge, stereo and rings: aspirin, caffeine, ibuprofen, penicillin G, diazepam, imatinib,
# atorvastatin, morphine, metformin, celecoxib.
DRUGS = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "CC(C)Cc1ccc(C(C)C(=O)O)cc1",
    "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
    "CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21",
    "Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(-c2cccnc2)n1",
    "CC(C)c1c(C(=O)Nc2ccccc2)c(-c2ccccc2)c(-c2ccc(F)cc2)n1CC[C@@H](O)C[C@@H](O)CC(=O)O",
    "CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5",
    "CN(C)C(=N)NC(=N)N",
    "Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1",
)


@app.command("list")
def list_() -> None:
    """Every built-in oracle: its name, whether it is normally maximised, its unit."""
    from molvae.oracles import ORACLES, resolve

    rows = []
    for name in ORACLES:
        oracle = resolve(name)
        rows.append([name, oracle.direction, oracle.unit])
    print(plain_table(["name", "direction", "unit"], rows, left=(0, 1)))


@app.command()
def test(
    spec: Annotated[str, typer.Argument(help="An oracle: QED, my.py:score, cmd:./program.")],
    on: Annotated[Path | None, typer.Option(help="Molecules to try it on. By default ten well-known drugs.")] = None,
    smiles_col: Annotated[str | None, typer.Option(help="SMILES column of --on.")] = None,
) -> None:
    """Measure a few molecules twice: time per molecule, whether values repeat, what fails and why."""
    from molvae.chem import canonical
    from molvae.data.tables import read_molecules
    from molvae.oracles import probe, resolve

    given = list(DRUGS) if on is None else read_molecules(on, smiles_col).smiles
    smiles = list(dict.fromkeys(text for text in map(canonical, given) if text is not None))
    if len(smiles) < len(given):
        say(f"{len(given) - len(smiles)} of {len(given)} rows of {on} are repeats or not valid SMILES, and are left out.")
    report = probe(resolve(spec), smiles)
    rows = [
        ["failed" if math.isnan(m.value) else f"{m.value:.6g}", one if not m.reason else f"{one}   {m.reason}"]
        for one, m in zip(report.smiles, report.measurements, strict=True)
    ]
    print(plain_table(["value", "smiles"], rows[:20]))
    n_failed = len(report.failures)
    duration = _duration(report.seconds_per_molecule)
    print(f"{len(smiles) - n_failed} of {len(smiles)} returned a value, {duration} per molecule")
    if report.deterministic:
        print("same values the second time, in reverse order: yes")
    else:
        one, first, second = report.differences[0]
        print(f"same values the second time, in reverse order: no ({len(report.differences)} differ)")
        print(f"  {one}: {first:.6g}, then {second:.6g}. A search takes the first value as the truth.")
    if n_failed == len(smiles):
        say("molvae: the oracle measured nothing; repair it before a search spends calls on it.")
        raise typer.Exit(MISTAKE)


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.2g} ms"
