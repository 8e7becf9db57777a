"""Reading files, tables of ids, batches by length, and tokenising: nothing lost, nothing silent."""

import gzip
import math

import numpy as np
import pytest
import torch
from drugs import SMILES
from rdkit import Chem

from molvae.chem import canonical
from molvae.data.datasets import Tokenised, TokenTable, length_batches, read_smiles, tokenise
from molvae.data.derivation import measure_properties
from molvae.errors import DataError
from molvae.strings.tokens import BOS, EOS, PAD, Vocabulary

# -- files


@pytest.mark.parametrize(
    "name, content, expected",
    [
        ("a.smi", "CCO\nc1ccccc1 benzene ring\n\n  CC \t x\n", ["CCO", "c1ccccc1", "CC"]),
        ("a.txt", "CCO", ["CCO"]),
        ("a.csv", "name,SMILES\nethanol,CCO\nethane, CC \nnothing,\nshort\n", ["CCO", "CC"]),
        ("a.tsv", "smiles\tname\nCCO\tethanol, pure\n", ["CCO"]),
        ("a.csv", '\ufeffsmiles,name\r\nCCO,"a ""quoted""\nname"\r\nCC,b\r\n', ["CCO", "CC"]),
    ],
)
def test_a_file_is_read(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content.encode())
    assert read_smiles(tmp_path / name) == expected
    with gzip.open(tmp_path / (name + ".gz"), "wb") as stream:
        stream.write(content.encode())
    assert read_smiles(tmp_path / (name + ".gz")) == expected


def test_a_column_can_be_named(tmp_path):
    (tmp_path / "a.csv").write_text("id,smiles,product\n1,CC,CCO\n")
    assert read_smiles(tmp_path / "a.csv", "product") == ["CCO"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.smi", b"", "holds no molecules"),
        ("a.smi", b"\n  \n", "holds no molecules"),
        ("a.csv", b"", "holds no molecules"),
        ("a.csv", b"\n", r"no column 'smiles' .*\(has: nothing\).*--smiles-col"),
        ("a.csv", b"structure,logP\nCC,1\n", r"no column 'smiles' .*\(has: structure, logP\).*--smiles-col"),
        ("a.csv", b"smiles\n", "holds no molecules"),
        ("a.csv", b"smiles\n" + b"C" * 200_000 + b"\n", "is not a table: field larger"),
        ("a.smi", b"\xff\xfeC\x00C\x00", "is not a text file"),
        ("a.smi.gz", b"CCO\n", "not a whole gzip file"),
        ("a.smi.gz", gzip.compress(b"CCO\n" * 1000, mtime=0)[:-12], "not a whole gzip file"),
        ("a.smi.gz", gzip.compress(b"CCO\n" * 1000, mtime=0)[:12] + b"garbage" * 9, "not a whole gzip file"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as refusal:
        read_smiles(tmp_path / name)
    assert str(tmp_path / name) in str(refusal.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no file .*nowhere.smi"):
        read_smiles(tmp_path / "nowhere.smi")
    (tmp_path / "folder.smi").mkdir()
    with pytest.raises(DataError, match="cannot read"):
        read_smiles(tmp_path / "folder.smi")


# -- tables


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(0)
    return [draw.integers(3, 400, n).tolist() for n in draw.integers(1, 30, 500)]


def naive_batch(rows):
    """Padding by lists."""
    width = max(len(row) for row in rows) + 2
    return torch.tensor([[BOS, *row, EOS] + [PAD] * (width - 2 - len(row)) for row in rows])


@pytest.mark.parametrize("chosen", [[0], [3, 1, 2], [7, 7], list(range(499, -1, -1))])
def test_a_batch_equals_naive_padding(rows, chosen):
    table = TokenTable.from_rows(rows)
    batch = table.batch(torch.tensor(chosen))
    assert batch.dtype == torch.int64
    assert torch.equal(batch, naive_batch([rows[i] for i in chosen]))


def test_a_selection_is_the_table_of_its_rows(rows):
    table = TokenTable.from_rows(rows)
    chosen = [4, 499, 0, 4]
    selected, fresh = table.select(torch.tensor(chosen)), TokenTable.from_rows([rows[i] for i in chosen])
    assert torch.equal(selected.tokens, fresh.tokens) and torch.equal(selected.offsets, fresh.offsets)
    assert len(selected) == 4 and selected.lengths.tolist() == [len(rows[i]) for i in chosen]
    assert len(table.select(torch.tensor([], dtype=torch.long))) == 0


def test_length_batches_cover_each_row_once(rows):
    lengths = TokenTable.from_rows(rows).lengths
    for size in (1, 7, 64, 1000):
        for generator in (None, torch.Generator().manual_seed(size)):
            batches = length_batches(lengths, size, generator)
            assert sorted(torch.cat(batches).tolist()) == list(range(500))
            assert len(batches) == math.ceil(500 / size)
            assert max(len(b) for b in batches) <= size


def test_batches_differ_between_epochs_and_repeat_with_the_seed(rows):
    lengths = TokenTable.from_rows(rows).lengths
    order = [torch.cat(length_batches(lengths, 10, torch.Generator().manual_seed(s))).tolist() for s in (1, 1, 2)]
    assert order[0] == order[1] != order[2]


def test_batching_by_length_saves_most_of_the_padding():
    lengths = torch.from_numpy(np.random.default_rng(1).integers(5, 60, 5000))

    def padded(batches):
        return sum(len(b) * int(lengths[b].max()) for b in batches) / int(lengths.sum())

    assert padded(length_batches(lengths, 32, torch.Generator().manual_seed(0))) < 1.05
    assert padded(torch.randperm(5000, generator=torch.Generator().manual_seed(0)).split(32)) > 1.5


# -- tokenising


@pytest.fixture(scope="module")
def mixed():
    return [SMILES[0], "not a molecule", "OCC", SMILES[1], "C.C", "C*", "CCO"]


def test_rejects_keep_their_row_their_text_and_a_reason(mixed):
    done = tokenise(mixed, words=3)
    assert done.rows.tolist() == [0, 2, 3, 6]
    assert done.smiles == [canonical(mixed[i]) for i in (0, 2, 3, 6)]
    assert [(row, text) for row, text, _ in done.rejected] == [(1, "not a molecule"), (4, "C.C"), (5, "C*")]
    assert sum(done.reasons.values()) == 3 and done.reasons["not a valid SMILES"] == 1


def test_a_given_vocabulary_is_kept_and_what_it_cannot_say_is_rejected():
    vocabulary = Vocabulary(["[C]", "[O]"])
    done = tokenise(["CCO", "CCN", "CC"], vocabulary)
    assert done.vocabulary is vocabulary and done.smiles == ["CCO", "CC"]
    assert done.rejected == [(1, "CCN", "symbol [N] is not in the vocabulary")]


def test_rows_spell_the_molecules():
    done = tokenise(SMILES, words=50)
    table = done.table
    for i, smiles in enumerate(done.smiles):
        ids = table.tokens[table.offsets[i] : table.offsets[i + 1]].tolist()
        assert done.vocabulary.decode(ids).smiles == smiles == canonical(SMILES[i])


def test_progress_reaches_the_end():
    heard = []
    tokenise(SMILES, words=0, progress=lambda done, total: heard.append((done, total)))
    assert heard[-1] == (len(SMILES), len(SMILES))


def same(a: Tokenised, b: Tokenised) -> bool:
    tables = [(a.table, b.table), (a.sources, b.sources)]
    return (
        (a.smiles, a.rejected, a.vocabulary) == (b.smiles, b.rejected, b.vocabulary)
        and all(torch.equal(x.tokens, y.tokens) and torch.equal(x.offsets, y.offsets) for x, y in tables)
        and (a.rows == b.rows).all()
    )


def test_worker_processes_change_nothing(mixed, monkeypatch):
    monkeypatch.setattr("molvae.data.datasets.CHUNK", 3)
    assert same(tokenise(mixed, words=3, randomised=2, workers=1), tokenise(mixed, words=3, randomised=2))


def test_randomised_writings_are_other_writings_of_the_same_molecule():
    smiles = SMILES[20:50]
    done = tokenise([*smiles, "broken"], words=30, randomised=3, seed=5)
    assert len(done.sources) == 4 * len(smiles)
    different = 0
    for i, expected in enumerate(done.smiles):
        rows = [done.sources.batch(torch.tensor([4 * i + j]))[0].tolist() for j in range(4)]
        decoded = [done.vocabulary.decode(row) for row in rows]
        assert rows[0] == done.table.batch(torch.tensor([i]))[0].tolist()
        assert [d.smiles for d in decoded] == [expected] * 4 and all(d.faithful for d in decoded)
        different += len({tuple(row) for row in rows}) - 1
    assert different > 2.5 * len(smiles)


def test_randomised_writings_depend_on_the_seed_and_the_molecule_alone():
    def written(smiles, seed):
        done = tokenise(smiles, words=0, randomised=2, seed=seed)
        start = 3 * done.smiles.index(canonical(SMILES[7]))
        return [done.vocabulary.text(row) for row in done.sources.batch(torch.arange(start, start + 3)).tolist()]

    alone, among, other = written([SMILES[7]], 1), written(SMILES[:10], 1), written([SMILES[7]], 2)
    assert alone == among != other


def test_where_a_vocabulary_cannot_say_a_writing_the_canonical_one_stands_in():
    vocabulary = Vocabulary(["[C]", "[O]"])  # no branch symbol: a writing of propanol from its middle cannot be said
    done = tokenise(["CCCO"], vocabulary, randomised=6, seed=0)
    said = [vocabulary.text(row) for row in done.sources.batch(torch.arange(7)).tolist()]
    assert set(said) <= {"[C][C][C][O]", "[O][C][C][C]"}


# -- properties


def test_properties_are_rdkits_own():
    from rdkit.Chem import Crippen, Descriptors

    rows = measure_properties((["MW", "logP"], SMILES[:20]))
    mols = [Chem.MolFromSmiles(s) for s in SMILES[:20]]
    np.testing.assert_allclose(rows, [[Descriptors.MolWt(m), Crippen.MolLogP(m)] for m in mols])
