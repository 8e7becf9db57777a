"""What a training run prepares from a data set of `molvae prepare`: its parts, its tokens, nothing of its test part."""

from pathlib import Path

import numpy as np
import pytest
import torch
from drugs import SMILES

from molvae.chem import canonical
from molvae.data.building import prepare as make
from molvae.data.files import Dataset
from molvae.errors import ConfigError, DataError, RunError
from molvae.training.preparation import DataSettings, data_hash, describe, prepare


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    (folder / "drugs.smi").write_text("".join(f"{s}\n" for s in SMILES))
    return make(folder / "drugs.smi", folder / "set", validation=0.1, test=0.3, words=30)


def test_the_parts_are_those_of_the_data_set(dataset: Dataset, tmp_path: Path) -> None:
    prepared = prepare(dataset.folder, tmp_path, DataSettings(properties=("MW",)))
    tokens = prepared.tokens
    assert tokens.smiles == dataset.read(["train", "validation"]).smiles
    assert [canonical(SMILES[row]) for row in tokens.rows] == tokens.smiles
    assert [tokens.smiles[i] for i in prepared.validation] == dataset.read(["validation"]).smiles
    assert not set(tokens.smiles) & set(dataset.read(["test"]).smiles) and dataset.read(["test"]).smiles
    assert tokens.vocabulary == dataset.vocabulary and len(prepared.properties) == len(tokens.smiles)
    for i in (0, 7, len(tokens.smiles) - 1):
        row = tokens.table.batch(torch.tensor([i]))[0].tolist()
        assert tokens.vocabulary.decode(row).smiles == tokens.smiles[i]
    again = prepare(dataset.folder, tmp_path, DataSettings(properties=("MW",)))
    assert again.tokens.smiles == tokens.smiles and (again.validation == prepared.validation).all()


def test_randomised_writings_belong_to_their_rows(dataset: Dataset, tmp_path: Path) -> None:
    prepared = prepare(dataset.folder, tmp_path, DataSettings(randomise=True), seed=4)
    tokens = prepared.tokens
    each = len(tokens.sources) // len(tokens.smiles)
    assert each > 1 and len(tokens.sources) == each * len(tokens.smiles)
    decoded = [tokens.vocabulary.decode(row).smiles for row in tokens.sources.batch(torch.arange(10 * each)).tolist()]
    assert decoded == list(np.repeat(tokens.smiles[:10], each))


def test_without_a_validation_part_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("CCO\nCCN\nCCC\n")
    folder = make(tmp_path / "in.smi", tmp_path / "set", split="none", words=0).folder
    assert prepare(folder, tmp_path / "run", DataSettings()).validation is None


def test_name_and_hash_of_a_data_set(dataset: Dataset) -> None:
    assert describe(dataset.folder) == "drugs.smi, prepared"
    assert data_hash(dataset.folder) == dataset.sha256


def test_what_contradicts_the_data_set_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    for options in ({"leave_out": [1]}, {"column": "smiles"}):
        with pytest.raises(ConfigError, match="is a prepared data set"):
            prepare(dataset.folder, tmp_path, DataSettings(), **options)
    with pytest.raises(ConfigError, match=r"words is 99, but .* was prepared with 30"):
        prepare(dataset.folder, tmp_path, DataSettings(words=99))
    other = {"marks": "selfies", "selfies": "marks"}[DataSettings().spelling]
    with pytest.raises(ConfigError, match=f"spelling is {other}, but"):
        prepare(dataset.folder, tmp_path, DataSettings(spelling=other))
    with pytest.raises(DataError, match="is not a prepared data set"):
        prepare(tmp_path, tmp_path, DataSettings())
    prepare(dataset.folder, tmp_path, DataSettings())
    (tmp_path / "in.smi").write_text("CCO\nCCN\n")
    with pytest.raises(RunError, match="holds a run on other data"):
        prepare(tmp_path / "in.smi", tmp_path, DataSettings())


def test_a_data_set_with_one_molecule_left_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("CCO\nCCN\nCCC\n")
    (tmp_path / "split.json").write_text("[0, 1]")
    folder = make(tmp_path / "in.smi", tmp_path / "set", split=tmp_path / "split.json", words=0).folder
    with pytest.raises(DataError, match="has only 1 molecules to learn from"):
        prepare(folder, tmp_path / "run", DataSettings())
