"""Run the `$ ` commands of the README's console blocks, paste what they print, and make docs/search.png. Takes minutes.

    python docs/refresh_readme.py                 # with the shipped model
    python docs/refresh_readme.py --only console  # leave the picture as it is

The picture is the search of the README's first command; everything runs in a temporary directory.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"

SCORE = """\
from rdkit import Chem
from rdkit.Chem import QED


def score(smiles):                      # here you would dock, simulate or ask a model
    mols = [Chem.MolFromSmiles(s) for s in smiles]
    return [QED.qed(m) if m.HasSubstructMatch(Chem.MolFromSmarts("C(=O)N")) else None for m in mols]
"""
LEADS = "CC(=O)Nc1ccc(O)cc1 paracetamol\nCCN(CC)CC(=O)Nc1c(C)cccc1C lidocaine\nCC(C)NCC(O)COc1ccc(CC(N)=O)cc1 atenolol\n"


def printed(command: str, folder: Path) -> str:
    """Standard output and error of a shell command, as a terminal would show them."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{command!r} failed:\n{done.stdout}")
    return done.stdout.rstrip("\n")


def console_block(match: re.Match[str], folder: Path) -> str:
    """The block with its commands run again."""
    commands = [line for line in match.group(1).splitlines() if line.startswith("$ ")]
    parts = []
    for line in commands:
        output = printed(line[2:], folder)
        parts.append(f"{line}\n{output}" if output else line)
    return "```console\n" + "\n".join(parts) + "\n```"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("console", "picture"))
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "score.py").write_text(SCORE)
        (folder / "leads.smi").write_text(LEADS)
        text = README.read_text(encoding="utf-8")
        if only != "picture":
            text = re.sub(r"```console\n(.*?)\n```", lambda match: console_block(match, folder), text, flags=re.DOTALL)
            README.write_text(text, encoding="utf-8")
        if only != "console":
            search = re.search(r"^pip install .* && (molvae optimize .*)$", text, re.MULTILINE).group(1)
            run = folder / "runs" / "picture"
            printed(f"{search} -o {run}", folder)
            printed(f"molvae report {run} --picture {REPOSITORY / 'docs' / 'search.png'}", folder)


if __name__ == "__main__":
    main()
