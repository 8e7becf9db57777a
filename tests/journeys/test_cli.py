"""The command line as its users meet it: searches, reports, oracles, and every mistake answered by one sentence."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

from molvae.files import EventLog

REPOSITORY = Path(__file__).parents[2]
SMALL = ("--strategy", "genetic", "--set", "initial=8", "--set", "batch=8")

LENGTH = "def score(smiles):\n    return [float(len(s)) for s in smiles]\n"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


# -- the main job


def test_a_search_leaves_a_run_directory_and_says_what_it_found(molvae, tiny_model: Path, tmp_path: Path) -> None:
    outcome = molvae("optimize", "QED", "--budget", 24, "--model", tiny_model, *SMALL, "-o", "run")
    assert outcome.code == 0, outcome.err
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "config.toml", "ledger.sqlite", "events.jsonl", "molecules.csv", "progress.png", "best.png", "report.html",
    }  # fmt: skip
    assert not {name for name in names if name.startswith(".partial") or name.endswith("-wal")}
    # One progress line a round, on stderr.
    assert re.findall(r"^round +\d+  calls (\d+)/24  best 0\.\d{4}", outcome.err, re.MULTILINE) == ["8", "16", "24"]
    # The table on stdout holds the ten best of molecules.csv, best first, with whole SMILES.
    table = [line.split() for line in outcome.out.splitlines()]
    assert table[0] == ["no", "score", "call", "source", "smiles"]
    best = sorted(rows(run / "molecules.csv"), key=lambda row: (-float(row["score"]), int(row["call"])))[:10]
    assert [(row[2], row[4]) for row in table[1:]] == [(row["call"], row["smiles"]) for row in best]
    # A built-in oracle is free: random screening of the same budget is measured beside it, and compared.
    floor = [float(row["score"]) for row in rows(run / "random-floor" / "molecules.csv")]
    assert len(floor) == 24
    top = sum(sorted(floor)[-10:]) / 10
    assert f"Random screening, 24 molecules drawn from the model: best {max(floor):.4f}" in outcome.err
    assert f"mean of the best 10: {top:.4f}" in outcome.err
    assert "The best 10 came from: " in outcome.err


def test_the_same_command_measures_nothing_again_and_more_budget_continues(molvae, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(
        "from pathlib import Path\n"
        "def score(smiles):\n"
        "    with Path('calls').open('a') as stream:\n"
        "        stream.writelines(s + '\\n' for s in smiles)\n"
        "    return [float(len(s)) for s in smiles]\n"
    )
    command = ("optimize", "--oracle", "my.py:score", "--model", tiny_model, *SMALL, "-o", "run")
    for budget, calls in ((12, 12), (12, 12), (20, 20)):
        outcome = molvae(*command, "--budget", budget)
        assert outcome.code == 0, outcome.err
        assert len((tmp_path / "calls").read_text().split()) == calls
    assert "would cost calls of your own oracle" in outcome.err
    assert not (tmp_path / "run" / "random-floor").exists()


def test_start_molecules_constraints_and_directions(molvae, tiny_model: Path, tmp_path: Path) -> None:
    big = "C" * 480 + "c1ccccc1"
    (tmp_path / "leads.csv").write_text(f"id,smiles\na,[Na+].CC(=O)[O-]\nb,C[Se]C\nc,{big}\nd,c1ccccc1O\n")
    outcome = molvae(
        "optimize", "--minimize", "logP", "--constraint", "MW<=200", "--start", "leads.csv", "--budget", 12,
        "--model", tiny_model, *SMALL, "-o", "run", "--no-floor",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    table = rows(tmp_path / "run" / "molecules.csv")
    assert [row["source"] for row in table[:4]] == ["start"] * 4, "salts, selenium and 486 atoms are measured like the rest"
    best = max(table, key=lambda row: float(row["score"]))
    feasible = [row for row in table if float(row["MW"]) <= 200]
    assert float(best["logP"]) == min(float(row["logP"]) for row in feasible)
    assert float(best["score"]) == -float(best["logP"])


def test_every_molecule_keeps_the_core(molvae, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "leads.smi").write_text("c1ccccc1CN\nc1ccccc1CCO\n")
    command = (
        "optimize", "TPSA", "--start", "leads.smi", "--keep", "[#6;R]-[CH2]", "--model", tiny_model, *SMALL, "-o", "run",
    )  # fmt: skip
    outcome = molvae(*command, "--budget", 20)
    assert outcome.code == 0, outcome.err
    assert "[#6;R]-[CH2] (read as SMARTS)" in outcome.err and "draws from the model hardly ever hold" in outcome.err
    found = [Chem.MolFromSmiles(row["smiles"]) for row in rows(tmp_path / "run" / "molecules.csv")]
    core = Chem.MolFromSmarts("[#6;R]-[CH2]")
    assert len(found) > 2 and all(mol.HasSubstructMatch(core) for mol in found)
    assert "keeping [#6;R]-[CH2]" in (tmp_path / "run" / "report.html").read_text()
    outcome = molvae(*command[:5], "c1ccccc1", *command[6:], "--budget", 30)
    assert outcome.code == 1 and "keep = '[#6;R]-[CH2]', and this one has 'c1ccccc1'" in outcome.sentence


def test_no_call_is_spent_on_what_does_not_pass(molvae, tiny_model: Path, tmp_path: Path) -> None:
    command = ("optimize", "TPSA", "--filter", "MW<=850,rings<=3", "--model", tiny_model, *SMALL, "-o", "run")
    outcome = molvae(*command, "--budget", 20)
    assert outcome.code == 0, outcome.err
    assert re.search(r"Without a call, \d+ of \d+ candidates were refused: MW is higher \d+", outcome.err)
    for folder in ("run", "run/random-floor"):
        found = [Chem.MolFromSmiles(row["smiles"]) for row in rows(tmp_path / folder / "molecules.csv")]
        assert len(found) > 2
        assert all(Descriptors.MolWt(mol) <= 850 and mol.GetRingInfo().NumRings() <= 3 for mol in found)
    assert "only what passes MW&lt;=850,rings&lt;=3" in (tmp_path / "run" / "report.html").read_text()
    outcome = molvae(*command[:3], "MW<=300", *command[4:], "--budget", 30)
    assert outcome.code == 1 and "filters = ['MW<=850,rings<=3'], and this one has ['MW<=300']" in outcome.sentence
    outcome = molvae(*command[:3], "MW<=20", *command[4:-1], "none", "--budget", 30)
    assert outcome.code == 1 and re.search(r"(\d+) of \1 candidates were refused: MW is higher \1\.", outcome.sentence)


def test_suggestions_of_one_round_are_filled_in_for_the_next(molvae, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "leads.csv").write_text("smiles,pIC50\nCCO,5.0\nCCN,5.5\nCCCO,6\nCCCN,n.d.\nCCOC,5.2\nCCS,4.8\n")
    command = ("--maximize", "pIC50", "-n", 4, "--filter", "MW<=200", "--model", tiny_model)
    outcome = molvae("suggest", "leads.csv", *command, "-o", "order.csv", "--picture", "order.png")
    assert outcome.code == 0, outcome.err
    assert "6 molecules in the table: 5 with a value, 0 not measured yet, 1 without a value." in outcome.err
    assert "1 without: pIC50: the score is text ('n.d.'), not a number" in outcome.err
    assert (tmp_path / "order.png").read_bytes().startswith(b"\x89PNG")
    ordered = rows(tmp_path / "order.csv")
    assert len(ordered) == 4 and {row["pIC50"] for row in ordered} == {""}
    again = molvae("suggest", "leads.csv", *command, "-o", "order.csv")
    assert again.code == 2 and "order.csv is there already, and may hold measurements" in again.sentence
    text = (tmp_path / "order.csv").read_text().replace(",,", ",6.5,", 1)
    (tmp_path / "order.csv").write_text(text)
    outcome = molvae("suggest", "leads.csv", "order.csv", *command)
    assert outcome.code == 0 and "2 tables: 6 with a value, 3 not measured yet" in outcome.err
    header, *suggested = outcome.out.splitlines()
    assert header.startswith("smiles,pIC50,source,expected,sd,nearest,similarity") and len(suggested) == 4
    assert not {line.split(",")[0] for line in suggested} & {row["smiles"] for row in ordered}


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ("[None] * len(smiles)", "the score is None"),
        ("[float('nan')] * len(smiles)", "the score is nan"),
        ("[float('inf')] * len(smiles)", "the score is inf"),
        ("['high'] * len(smiles)", "the score is text"),
        ("[]", "returned 0 values for 1 molecule"),
        ("1 / 0", "ZeroDivisionError"),
        ("__import__('time').sleep(60)", "time limit"),
    ],
)
def test_an_oracle_that_fails_every_time_is_told_after_one_round(
    molvae, tiny_model: Path, tmp_path: Path, returned: str, reason: str
) -> None:
    (tmp_path / "my.py").write_text(f"def score(smiles):\n    return {returned}\n")
    options = ("--time-limit", 1, "--workers", 4) if "sleep" in returned else ()
    small = ("--strategy", "genetic", "--set", "initial=4")
    outcome = molvae(
        "optimize", "--oracle", "my.py:score", "--budget", 50, "--model", tiny_model, *small, *options, "-o", "run"
    )
    assert outcome.code == 1
    assert "all 4 molecules of the first round failed" in outcome.sentence
    assert reason in outcome.sentence
    table = rows(tmp_path / "run" / "molecules.csv")
    assert len(table) == 4, "no more calls are spent"
    assert all(row["score"] == "" and reason in row["reason"] for row in table), "a failure is never a number"


def test_an_oracle_that_fails_sometimes_costs_only_those_calls(molvae, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text(
        "def score(smiles):\n    return [float(len(s)) if len(s) % 2 else None for s in smiles]\n"
    )
    outcome = molvae("optimize", "--oracle", "my.py:score", "--budget", 16, "--model", tiny_model, *SMALL, "-o", "run")
    assert outcome.code == 0, outcome.err
    table = rows(tmp_path / "run" / "molecules.csv")
    assert [row["score"] == "" for row in table] == [len(row["smiles"]) % 2 == 0 for row in table]
    n_failed = sum(row["score"] == "" for row in table)
    assert 0 < n_failed < 16
    assert f"16 oracle calls, {n_failed} of them failed" in outcome.err
    assert "the score is None" in (tmp_path / "run" / "report.html").read_text()


def start_slow_search(tiny_model: Path, folder: Path) -> subprocess.Popen[str]:
    (folder / "my.py").write_text("import time\n" + LENGTH.replace("    return", "    time.sleep(0.1)\n    return"))
    return subprocess.Popen(
        [sys.executable, "-m", "molvae", "optimize", "--oracle", "my.py:score", "--budget", "60", "--model", str(tiny_model),
         *SMALL, "-o", "run"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_ctrl_c_loses_nothing_and_says_how_to_go_on(molvae, tiny_model: Path, tmp_path: Path) -> None:
    process = start_slow_search(tiny_model, tmp_path)
    events = EventLog(tmp_path / "run" / "events.jsonl")
    deadline = time.monotonic() + 120
    while not any(event["event"] == "round" for event in events.read()):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert re.search(r"stopped after \d+ of 60 calls; they are saved in run. Run the same command to continue", err)
    saved = rows(tmp_path / "run" / "molecules.csv")
    assert 8 <= len(saved) < 60
    (tmp_path / "my.py").write_text(LENGTH)
    outcome = molvae("optimize", "--oracle", "my.py:score", "--budget", 60, "--model", tiny_model, *SMALL, "-o", "run")
    assert outcome.code == 0, outcome.err
    assert rows(tmp_path / "run" / "molecules.csv")[: len(saved)] == saved


# -- mistakes


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("optimize", "--budget", "5"), 2, "there is nothing to optimize"),
        (("optimize", "osimertinib", "--budget", "5"), 2, "Did you mean 'osimertinib_mpo'"),
        (("optimize", "QED", "--budget", "0"), 2, "budget is 0"),
        (("optimize", "QED", "--budget", "5", "--strategy", "genetics"), 2, "Did you mean 'genetic'"),
        (("optimize", "QED", "--budget", "5", "--set", "batc=5", "--strategy", "genetic"), 2, "Did you mean 'batch'"),
        (("optimize", "QED", "--budget", "5", "--constraint", "SA=4"), 2, "write it like SA<=4"),
        (("optimize", "--oracle", "absent.py:score", "--budget", "5"), 1, "there is no file"),
        (("optimize", "--oracle", "my.py:scor", "--budget", "5"), 1, "Did you mean 'score'"),
        (("optimize", "--oracle", "broken.py:score", "--budget", "5"), 1, "broken.py cannot be imported"),
        (("optimize", "QED", "--budget", "5", "--start", "absent.smi"), 1, "no file absent.smi"),
        (("optimize", "QED", "--budget", "5", "--start", "empty.csv"), 1, "empty.csv holds no molecules"),
        (("optimize", "QED", "--budget", "5", "--start", "columns.csv"), 1, "has: name, logP"),
        (("optimize", "QED", "--budget", "5", "--start", "wrong.smi", "--no-floor"), 1, "start molecule 2 ('C1CC')"),
        (("optimize", "QED", "--budget", "5", "--keep", "CC(", "--start", "good.smi"), 2, "'CC(' is neither a SMILES nor"),
        (("optimize", "QED", "--budget", "5", "--keep", "CC"), 2, "molecules to start from that hold it"),
        (
            ("optimize", "QED", "--budget", "5", "--keep", "CO", "--start", "good.smi"),
            2,
            "start molecule CCN does not hold CO",
        ),
        (("optimize", "QED", "--budget", "5", "--filter", "sain"), 2, "Did you mean 'sane'"),
        (("optimize", "QED", "--budget", "5", "-o", "file/run"), 1, "cannot write file/run"),
        (("suggest", "columns.csv", "--maximize", "y"), 1, "has: name, logP"),
        (("suggest", "good.smi", "--maximize", "y"), 2, "no columns with names"),
        (("suggest", "absent.csv", "--maximize", "y"), 1, "no file absent.csv"),
        (("suggest", "absent.csv", "--maximize", "y", "-o", "order.sdf"), 2, "no columns to fill values in"),
        (("suggest", "absent.csv", "--maximize", "y", "--picture", "a.svg"), 2, "Give --picture NAME.png"),
        (("optimize", "QED", "--budget", "5", "--model", "absent"), 1, "no checkpoint 'absent'"),
        (("optimize", "QED", "--budget", "5", "--model", "file"), 1, "a molvae checkpoint is a folder"),
        (("report", "absent"), 1, "no run directory absent"),
        (("report", "."), 1, "is not the run directory of a search"),
        (("generate", "-n", "0"), 2, "ask for at least 1 molecule"),
        (("generate", "-n", "5", "-o", "table.xlsx"), 2, "has no known ending"),
        (("generate", "-n", "5", "-o", "file/x.csv"), 1, "cannot write file/x.csv"),
        (("generate", "-n", "5", "--filter", "sain"), 2, "Did you mean 'sane'"),
        (("generate", "-n", "5", "--properties", "qed"), 2, "no property named 'qed'"),
        (("generate", "-n", "5", "--prior", "flower"), 2, "no prior 'flower'"),
        (("neighbours", "C1CC"), 1, "cannot encode 'C1CC'"),
        (("interpolate", "CCO", "[Xe]"), 1, "cannot encode '[Xe]'"),
        (("encode", "wrong.smi", "-o", "z.sdf"), 2, "latent vectors cannot be written to z.sdf"),
        (("encode", "absent.smi", "-o", "z.csv"), 1, "no file absent.smi"),
        (("decode", "wrong.csv"), 1, "wrong.csv has no columns z0, z1"),
        (("decode", "absent.npy"), 1, "no file absent.npy"),
        (("train", "empty.csv", "-o", "trained"), 1, "empty.csv holds no molecules"),
        (("train", "columns.csv", "-o", "trained"), 1, "no column 'smiles'"),
        (("train", "wrong.smi", "-o", "trained", "--set", "model.latnt=8"), 2, "Did you mean 'latent'"),
        (("oracle", "test", "QEDD"), 2, "Did you mean 'QED'"),
        (("oracle", "test", "my.py"), 2, "write it as my.py:score"),
    ],
)
def test_a_mistake_is_one_sentence(
    molvae, tiny_model: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    (tmp_path / "my.py").write_text(LENGTH)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "columns.csv").write_text("name,logP\na,1\n")
    (tmp_path / "wrong.smi").write_text("CCO\nC1CC\nCCN\n")
    (tmp_path / "good.smi").write_text("CCO\nCCN\n")
    (tmp_path / "wrong.csv").write_text("smiles\nCCO\n")
    (tmp_path / "file").write_text("")
    if arguments[0] not in ("report", "train", "oracle") and "--model" not in arguments:
        arguments = (*arguments, "--model", str(tiny_model))
    outcome = molvae(*arguments)
    assert outcome.code == code
    assert sentence in outcome.sentence
    assert outcome.sentence.startswith("molvae: ")
    assert outcome.sentence.endswith((".", ")"))
    assert outcome.out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("redirection", "sentence"), [("> /dev/full", "No space left on device"), ("| head -1", "")])
def test_output_that_cannot_be_written_is_no_traceback(
    tmp_path: Path, redirection: str, sentence: str, unbuffered: str
) -> None:
    command = f"set -o pipefail; {sys.executable} -m molvae oracle list {redirection}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert sentence in done.stderr
    assert done.returncode == 1 or not sentence


def test_a_typing_error_in_an_option_is_shown_with_the_usage(molvae) -> None:
    outcome = molvae("optimize", "QED", "--budgt", "5")
    assert outcome.code == 2
    assert "--budgt" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("damage", ["cut", "pickle", "newer"])
def test_a_damaged_checkpoint_is_refused(molvae, tiny_model: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model / "checkpoint", folder)
    weights = folder / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
        expected = "is cut short"
    elif damage == "pickle":
        weights.write_bytes(b"\x80\x04cos\nsystem\n(S'touch owned'\ntR.")
        expected = "is a pickle"
    else:
        card = folder / "card.json"
        card.write_text(card.read_text().replace('"format": 1', '"format": 99'))
        expected = "Upgrade molvae"
    outcome = molvae("generate", "-n", "1", "--model", folder)
    assert outcome.code == 1
    assert expected in outcome.sentence
    assert not (tmp_path / "owned").exists()


# -- oracles and doctor


def test_oracles_are_listed_and_probed(molvae, tmp_path: Path) -> None:
    names = [line.split()[0] for line in molvae("oracle", "list").out.splitlines()[1:]]
    assert {"osimertinib_mpo", "zaleplon_mpo", "QED", "SA"} <= set(names)
    (tmp_path / "my.py").write_text(
        "import itertools\ncount = itertools.count()\n"
        "def score(smiles):\n    return [None if 'Cl' in s else float(next(count)) for s in smiles]\n"
    )
    (tmp_path / "on.smi").write_text("CCO\nCCCl\nCCN\nnot_a_molecule\n")
    outcome = molvae("oracle", "test", "my.py:score", "--on", "on.smi")
    assert outcome.code == 0
    assert "1 of 4 rows of on.smi are repeats or not valid SMILES" in outcome.err
    assert "2 of 3 returned a value" in outcome.out
    assert re.search(r"failed +CCCl +the score is None", outcome.out)
    assert "in reverse order: no (2 differ)" in outcome.out
    good = molvae("oracle", "test", "osimertinib_mpo")
    assert "10 of 10 returned a value" in good.out
    assert "in reverse order: yes" in good.out
    (tmp_path / "bad.py").write_text("def score(smiles):\n    raise RuntimeError('no licence')\n")
    bad = molvae("oracle", "test", "bad.py:score")
    assert bad.code == 1
    assert "RuntimeError: no licence" in bad.out


def test_doctor_tells_versions_and_whether_the_shipped_models_load(
    molvae, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr("molvae.checkpoint.PRETRAINED", tmp_path / "models")
    none = molvae("doctor")
    assert none.code == 1
    assert "no model is shipped" in none.err
    shutil.copytree(tiny_model / "checkpoint", tmp_path / "models" / "small")
    good = molvae("doctor")
    assert good.code == 0, good.err
    assert torch.__version__ in good.out
    assert re.search(r"rdkit +20\d\d\.", good.out)
    assert re.search(r"model small +loads; \d\.\d MiB, latent size 8", good.out)
    assert good.out.splitlines()[-1] == "all good"
    weights = tmp_path / "models" / "small" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    bad = molvae("doctor")
    assert bad.code == 1
    assert "is cut short" in bad.err
