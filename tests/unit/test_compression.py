"""Packed molecules: every row comes back, the size is what the model's nll promises, and a difference is a sentence."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from drugs import SMILES
from rdkit import Chem

import molvae
from molvae.errors import CheckpointError, DataError
from molvae.generation.model import Model
from molvae.models.sequence_vae import SequenceVAE
from molvae.strings.tokens import BOS, PAD
from molvae.uses.compression import MAGIC, Packed, Probabilities, compress, cumulative, decompress
from molvae.uses.likelihood import measure

STRANGE = ["not a molecule", "CCO.Cl", "[Xe]", "F[Si](F)(F)F", "", "c1ccccc1 ", "OCC", "two\nlines"]


@pytest.fixture
def speaker(small_model: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The small model as if it had learned to write without z: badly, but it is only to be exact."""
    monkeypatch.setattr(small_model.vae, "unconditional", 0.5)
    return small_model


def rounded_nll(model: Model, smiles: list[str]) -> float:
    """Bits by the network's own teacher-forced nll: another path through the decoder than the coder's."""
    return float(measure(model, smiles).nll.sum()) / math.log(2)


def test_every_row_comes_back_in_order(speaker: Model, tmp_path: Path) -> None:
    rows = [*STRANGE[:3], *SMILES[:40], SMILES[0], *STRANGE[3:], *SMILES[40:]]
    packed = compress(rows, tmp_path / "packed", model=speaker)
    expected = []
    for text in rows:
        mol = Chem.MolFromSmiles(text) if text.strip() else None
        expected.append(Chem.MolToSmiles(mol) if mol is not None else text)
    assert decompress(tmp_path / "packed", model=speaker) == expected
    assert packed.molecules == len(rows)
    assert packed.size == (tmp_path / "packed").stat().st_size
    assert packed.bits == pytest.approx(8 * packed.size / len(rows))
    assert 5 <= packed.as_text <= 7  # salts, nonsense, the empty row, what the vocabulary lacks; never a drug


def test_several_batches_and_the_same_bytes_twice(speaker: Model, tmp_path: Path) -> None:
    rows = SMILES * 4  # more than one batch
    for name in ("first", "second"):
        compress(rows, tmp_path / name, model=speaker)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert decompress(tmp_path / "first", model=speaker) == [Chem.CanonSmiles(text) for text in rows]


def test_the_payload_is_as_large_as_the_nll_says(speaker: Model) -> None:
    rows = [ids for ids, _ in speaker.encode_ids(SMILES)]
    assert all(rows)
    bits = 8 * len(Probabilities(speaker).encode(rows, lambda done: None))
    ideal = rounded_nll(speaker, SMILES)
    # 16 bits of check and up to 16 at the end; rounding costs little; the ideal is of float32.
    assert ideal - 8 < bits < ideal * 1.01 + 40


def test_intervals_are_the_probabilities_in_whole_numbers() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 4, (5, 30)))
    ends = cumulative(logits)
    sizes = np.diff(ends, axis=1, prepend=0)
    assert (sizes[:, [PAD, BOS]] == 0).all()
    assert (np.delete(sizes, [PAD, BOS], axis=1) >= 1).all()
    weights = np.exp(logits.numpy())
    weights[:, [PAD, BOS]] = 0
    np.testing.assert_allclose(sizes / ends[:, -1:], weights / weights.sum(1, keepdims=True), atol=3e-4)
    assert (ends[:, -1] <= 1 << 18).all()


def test_a_transformer_packs_too(small_model: Model) -> None:
    torch.manual_seed(0)
    settings = {"width": 16, "layers": 2, "heads": 2}
    vae = SequenceVAE(len(small_model.vocabulary), latent=4, decoder="transformer", decoder_settings=settings)
    stand_in = type("Stand-in", (), {"vae": vae.eval()})()
    rows = [ids for ids, _ in small_model.encode_ids(SMILES[:20])]
    source = Probabilities(stand_in)
    data = source.encode(rows, lambda done: None)
    assert source.decode(data, 20, lambda done: None) == rows


def test_a_difference_is_found_at_the_first_batch(speaker: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if another machine rounded otherwise: a frequency in ten thousand is one larger."""
    compress(SMILES, tmp_path / "packed", model=speaker)
    from molvae.uses import compression

    def elsewhere(logits: torch.Tensor) -> np.ndarray:
        ends = cumulative(logits)
        ends[:, 40:] += 200
        return ends

    monkeypatch.setattr(compression, "cumulative", elsewhere)
    with pytest.raises(DataError, match="It was packed with the same versions as here"):
        decompress(tmp_path / "packed", model=speaker)


@pytest.mark.parametrize("fault", ["payload", "exceptions", "cut", "header", "foreign", "missing", "checksum"])
def test_a_damaged_file_is_refused(speaker: Model, tmp_path: Path, fault: str) -> None:
    path = tmp_path / "packed"
    compress([*SMILES, "CCO.Cl"], path, model=speaker)
    content = bytearray(path.read_bytes())
    if fault == "payload":
        content[-120] ^= 4
    elif fault == "exceptions":
        content[-9] ^= 4
    elif fault == "cut":
        del content[-100:]
    elif fault == "header":
        content[len(MAGIC) + 20] ^= 4
    elif fault == "foreign":
        content = bytearray(zlib.compress(b"something else"))
    elif fault == "checksum":  # a row of the exceptions that was written by another hand
        at = content.rindex(zlib.compress(json.dumps([[len(SMILES)], ["CCO.Cl"]]).encode(), 9))
        content[at:] = zlib.compress(json.dumps([[len(SMILES)], ["CCO.Br"]]).encode(), 9)
    path.write_bytes(content)
    if fault == "missing":
        path.unlink()
    with pytest.raises(DataError, match="packed"):
        decompress(path, model=speaker)


def test_another_model_is_refused(speaker: Model, tiny_model: Path, tmp_path: Path) -> None:
    compress(SMILES[:3], tmp_path / "packed", model=speaker)
    with pytest.raises(CheckpointError, match="packed with other weights than tiny has"):
        decompress(tmp_path / "packed", model=tiny_model)


def test_a_model_that_needs_z_is_warned_of(tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = molvae.load(tiny_model, device="cpu")
    model.name = str(tiny_model)
    assert isinstance(compress(SMILES[:3], tmp_path / "packed", model=model), Packed)
    assert "has not learned to write without z" in caplog.text
    assert decompress(tmp_path / "packed") == [Chem.CanonSmiles(text) for text in SMILES[:3]]
