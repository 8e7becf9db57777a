"""The verbs of a trained model on the command line: generate, encode and decode, and training itself."""

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pandas
import pytest
from conftest import EXAMPLE, TINY
from rdkit import Chem

from molvae.config import to_toml
from molvae.files import EventLog

HERE = ("--workers", "0", "--device", "cpu")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".smi", ".sdf", ".parquet", ".csv.gz"])
def test_generate_writes_exactly_n_in_every_format(molvae, tiny_model: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"library{ending}"
    code, stdout, err = molvae("generate", "-n", 12, "--seed", 3, "--temperature", 1, "--model", tiny_model, "-o", out)
    assert (code, stdout) == (0, ""), err
    if ending == ".sdf":
        smiles = [Chem.MolToSmiles(mol) for mol in Chem.SDMolSupplier(str(out))]
    elif ending == ".parquet":
        smiles = pandas.read_parquet(out)["smiles"].tolist()
    elif ending == ".smi":
        smiles = out.read_text().split()
    else:
        frame = pandas.read_csv(out, sep="\t" if ending == ".tsv" else ",")
        assert frame.columns[0] == "smiles"
        assert frame["MW"].between(10, 2000).all()
        smiles = frame["smiles"].tolist()
    assert len(smiles) == 12
    assert all(Chem.MolFromSmiles(s) is not None for s in smiles)


def test_generate_prints_csv_on_stdout_and_the_funnel_on_stderr(molvae, tiny_model: Path) -> None:
    filters = ("--filter", "sane,SA<=6", "--unique", "--novel", "--properties", "SA,rings")
    code, out, err = molvae("generate", "-n", 8, "--temperature", 1, "--model", tiny_model, *filters)
    assert code == 0, err
    frame = pandas.read_csv(io.StringIO(out))
    assert list(frame.columns) == ["smiles", "SA", "rings"]
    assert len(frame) == frame["smiles"].nunique() == 8
    assert (frame["SA"] <= 6).all()
    stages = [line.split()[0] for line in err.splitlines()]
    assert stages[:7] == ["drawn", "valid", "faithful", "unique", "novel", "sane", "SA<=6"]
    # The same seed, the same molecules.
    assert molvae("generate", "-n", 8, "--temperature", 1, "--model", tiny_model, *filters)[1] == out


def test_generate_says_why_there_are_too_few(molvae, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "none.csv"
    code, _, err = molvae("generate", "-n", 5, "--filter", "SA<=0.5", "--max-draws", 200, "--model", tiny_model, "-o", out)
    assert code == 1
    assert "only 0 of 5 molecules were found among 200 draws" in err.splitlines()[-1]
    assert out.read_text().startswith("smiles,QED"), "what was found is written"


def test_decode_is_kept_to_what_can_be_read_unless_told(molvae, small_run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", 3 * np.random.default_rng(0).standard_normal((60, 24)).astype(np.float32))
    frames = {}
    for how in ((), ("--unconstrained",)):
        code, out, err = molvae("decode", "z.npy", "--model", small_run, *how)
        assert code == 0, err
        frames[how] = pandas.read_csv(io.StringIO(out), keep_default_na=False)["reason"]
    stereo_or_cut = frames[()].str.contains("stereo|length limit|^$", regex=True)
    assert stereo_or_cut.all()
    assert not frames[("--unconstrained",)].str.contains("stereo|length limit|^$", regex=True).all()
    assert molvae("generate", "-n", 3, "--unconstrained", "--model", small_run, "--max-draws", 2000)[0] == 0


def test_encode_and_decode_keep_ids_and_tell_what_was_left_out(molvae, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(
        "id,smiles\nbenzene,c1ccccc1\nbroken,C1CC\nxenon,F[Xe]F\naspirin,CC(=O)Oc1ccccc1C(=O)O\nsalt,[Na+].[Cl-]\n"
    )
    code, _, err = molvae("encode", "in.csv", "-o", "z.csv", "--model", tiny_model)
    assert code == 0, err
    assert "left out: broken C1CC: not a valid SMILES" in err
    assert "left out: xenon F[Xe]F: " in err
    frame = pandas.read_csv(tmp_path / "z.csv")
    assert frame["id"].tolist() == ["benzene", "aspirin"]
    assert list(frame.columns) == ["smiles", "id", *(f"z{i}" for i in range(8))]
    for name in ("z.parquet", "z.npy"):
        assert molvae("encode", "in.csv", "-o", name, "--model", tiny_model)[0] == 0
    array = np.load(tmp_path / "z.npy")
    np.testing.assert_allclose(frame[[f"z{i}" for i in range(8)]].to_numpy(), array, rtol=1e-6)
    decoded = [molvae("decode", name, "--model", tiny_model)[1] for name in ("z.csv", "z.parquet", "z.npy")]
    assert [line.split(",")[1] for line in decoded[0].splitlines()] == ["id", "benzene", "aspirin"]
    assert decoded[2] == decoded[1] == decoded[0]
    table = pandas.read_parquet(tmp_path / "z.parquet")
    assert table["z0"].dtype == np.float32 and table["id"].tolist() == ["benzene", "aspirin"]
    # The ids of an array lie beside it; alone it has row numbers, and ids of another array are not believed.
    (tmp_path / "z.ids.csv").write_text("smiles,id\nC,a\n")
    code, _, err = molvae("decode", "z.npy", "--model", tiny_model)
    assert code == 1 and "z.npy has 2 rows, and z.ids.csv has 1 ids" in err
    (tmp_path / "z.ids.csv").unlink()
    alone = molvae("decode", "z.npy", "--model", tiny_model)[1]
    assert [line.split(",")[1] for line in alone.splitlines()] == ["id", "1", "2"]


def test_decode_draws_several_molecules_a_point(molvae, tiny_model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.zeros((2, 8), np.float32))
    several = ("decode", "z.npy", "--model", tiny_model, "-n", 3)
    code, out, err = molvae(*several, "--temperature", 1, "--seed", 4)
    assert code == 0, err
    frame = pandas.read_csv(io.StringIO(out), keep_default_na=False)
    assert frame["id"].tolist() == [1, 1, 1, 2, 2, 2] and frame["draw"].tolist() == [1, 2, 3] * 2
    assert frame["smiles"].nunique() > 1
    assert molvae(*several, "--temperature", 1, "--seed", 4)[1] == out
    code, _, err = molvae(*several)
    assert code == 2 and "3 molecules a point would all be the same at temperature 0" in err
    code, _, err = molvae("decode", "z.npy", "--model", tiny_model, "--beams", 4, "--temperature", 1)
    assert code == 2 and "leave temperature at 0" in err


def test_beams_bring_back_what_greedy_writing_brings_back(molvae, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("c1ccccc1 benzene\nCCO ethanol\nCC(=O)Oc1ccccc1C(=O)O aspirin\n")
    greedy, beams = (
        pandas.read_csv(io.StringIO(molvae("reconstruct", "in.smi", "--model", tiny_model, "--beams", n)[1])) for n in (0, 6)
    )
    assert set(np.flatnonzero(greedy["exact"])) <= set(np.flatnonzero(beams["exact"]))
    assert molvae("encode", "in.smi", "-o", "z.npy", "--model", tiny_model)[0] == 0
    decoded = pandas.read_csv(io.StringIO(molvae("decode", "z.npy", "--model", tiny_model, "--beams", 6)[1]))
    assert decoded["smiles"].tolist() == beams["reconstructed"].tolist()
    code, _, err = molvae("decode", "z.npy", "--model", tiny_model, "--beams", -1)
    assert code == 2 and "beams" in err


def test_encode_refuses_a_file_without_one_good_molecule(molvae, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("C1CC\nhello\n")
    code, _, err = molvae("encode", "in.smi", "-o", "z.csv", "--model", tiny_model)
    assert code == 1
    assert "none of the 2 molecules of in.smi can be encoded" in err.splitlines()[-1]


def test_reconstruct_counts_what_comes_back(molvae, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("c1ccccc1 benzene\nC1CC broken\n" + "C" * 500 + " polyethylene\n")
    code, out, err = molvae("reconstruct", "in.smi", "--model", tiny_model)
    assert code == 0, err
    frame = pandas.read_csv(io.StringIO(out))
    assert frame["id"].tolist() == ["benzene", "broken", "polyethylene"]
    exact = frame["smiles"].map(lambda s: Chem.CanonSmiles(s) if s != "C1CC" else s) == frame["reconstructed"]
    assert frame["exact"].tolist() == exact.tolist()
    assert not frame["exact"][2], "a chain of 500 carbons is longer than the model writes"
    assert f"{exact.sum()} of 3 came back exactly" in err
    assert "1 of 3 rejected: not a valid SMILES" in err


def test_interpolate_and_neighbours(molvae, tiny_model: Path) -> None:
    path = ("interpolate", "c1ccccc1O", "CCCCN", "--steps", 5, "--mode", "spherical", "--model", tiny_model)
    code, out, err = molvae(*path, "--every")
    assert code == 0, err
    every = pandas.read_csv(io.StringIO(out))
    assert every["position"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    code, out, err = molvae(*path)
    assert code == 0, err
    distinct = pandas.read_csv(io.StringIO(out))
    expected = every.dropna(subset="smiles").drop_duplicates("smiles").reset_index(drop=True)
    pandas.testing.assert_frame_equal(distinct, expected)
    assert f"{len(distinct)} distinct molecules at 5 points" in err
    assert distinct["similarity_first"].between(0, 1).all() and distinct["similarity_last"].between(0, 1).all()
    for how in (("--sigma", 1), ("--similarity", 0.1)):
        code, out, err = molvae("neighbours", "CC(=O)Oc1ccccc1C(=O)O", "-n", 4, *how, "--model", tiny_model)
        assert code == 0, err
        frame = pandas.read_csv(io.StringIO(out))
        assert len(frame) == frame["smiles"].nunique() == 4
        assert frame["similarity"].is_monotonic_decreasing
        assert "4 molecules, " in err
    code, _, err = molvae("neighbours", "CCO", "--similarity", 1.5, "--model", tiny_model)
    assert code == 2 and "similarity is 1.5; give a Tanimoto similarity between 0 and 1" in err
    code, out, err = molvae("neighbours", "CCO", "-n", 400, "--sigma", 1e-6, "--model", tiny_model)
    assert code == 1 and "of 400 neighbours were found. Give a larger --sigma" in err


def test_train_then_use_then_train_on(molvae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("molvae.training.experiment.FITTED", ("gaussian",))  # a learned prior takes longer than all the rest
    with gzip.open(tmp_path / "data.csv.gz", "wt") as stream:
        stream.write("name,structure\n")
        stream.writelines(f"{name},{smiles}\n" for smiles, name in (line.split() for line in EXAMPLE.open()))
        stream.write("broken,C1CC\nsilly,hello\n")
    (tmp_path / "tiny.toml").write_text(to_toml(TINY))
    train = ("train", "data.csv.gz", "-o", "run", "-c", "tiny.toml", "--smiles-col", "structure", *HERE)
    code, _, err = molvae(*train, "--set", "training.molecules=2560")
    assert code == 0, err
    assert "2 molecules rejected: not a valid SMILES" in err
    assert "Checkpoint: run/checkpoint" in err
    code, _, err = molvae("encode", EXAMPLE, "-o", "z.npy", "--model", "run")
    assert code == 0, err
    assert np.load(tmp_path / "z.npy").shape == (124, 8)
    code, _, err = molvae(*train, "--set", "training.molecules=3200")
    assert code == 0, err
    steps = [e["step"] for e in EventLog(tmp_path / "run" / "events.jsonl").read() if e["event"] == "evaluation"]
    assert steps == [80, 100], "the second call went on from the first"
    card = json.loads((tmp_path / "run" / "checkpoint" / "card.json").read_text())
    assert card["molecules_shown"] == 3200


def test_a_collapsed_model_ends_with_the_word_and_a_failure(molvae, tmp_path: Path) -> None:
    # A weight of 10,000 on the rate pins the posterior to the prior: the latent space carries nothing.
    collapse = {"model": {**TINY["model"], "kl_weight": "fixed", "kl_settings": {"beta": 1e4}}}
    (tmp_path / "collapse.toml").write_text(to_toml({**TINY, **collapse}))
    code, _, err = molvae("train", EXAMPLE, "-o", "run", "-c", "collapse.toml", "--set", "training.molecules=1600", *HERE)
    assert code == 1
    assert "collapsed" in err.splitlines()[-1]


def test_train_takes_another_variant_by_name(molvae, tmp_path: Path) -> None:
    small = ("--set", "model.latent=8", "--set", "training.molecules=640", "--set", "data.words=20")
    code, _, err = molvae("train", EXAMPLE, "-o", "run", "--model", "fsq_vae", *small, *HERE)
    assert code == 0, err
    frame = pandas.read_csv(io.StringIO(molvae("generate", "-n", 3, "--model", "run", "--temperature", 1)[1]))
    assert len(frame) == 3
    code, _, err = molvae("train", EXAMPLE, "-o", "other", "--model", "fsqvae", *HERE)
    assert code == 2 and "Did you mean 'fsq_vae'?" in err
