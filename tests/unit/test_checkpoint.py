"""Checkpoint folders: what is saved is what is loaded, and a bad one is refused with its name and what to do."""

import hashlib
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import molvae
from molvae import checkpoint as checkpoints
from molvae.checkpoint import find, load, molecule_hashes, save
from molvae.errors import CheckpointError, MolvaeError, RunError


@pytest.fixture
def folder(small_run, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(small_run / "checkpoint", tmp_path / "checkpoint")


def test_what_is_saved_is_what_is_loaded(small_run, tmp_path):
    first = load(small_run)
    save(tmp_path / "again", first, half=False)
    second = load(tmp_path / "again")
    assert second.vocabulary == first.vocabulary and second.config == first.config and second.card == first.card
    assert second.ring_systems == first.ring_systems and (second.training == first.training).all()
    for key, value in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[key], value)
    assert second.priors.keys() == first.priors.keys() == {"normal", "gaussian", "mixture"}
    for name, prior in first.priors.items():
        for key, value in prior.tensors.items():
            assert torch.equal(second.priors[name].tensors[key], value)


def test_weights_ship_in_half_precision_and_load_in_single(folder):
    stored = load_file(folder / "model.safetensors")
    loaded = load(folder).model.state_dict()
    assert {v.dtype for v in stored.values() if v.numel() > 1} == {torch.float16}
    for key, value in loaded.items():
        if value.numel() > 1:
            assert value.dtype == torch.float32 and torch.equal(value, stored[key].float())


def test_saving_again_gives_the_same_bytes(small_run, tmp_path):
    for place in ("a", "b"):
        save(tmp_path / place, load(small_run))
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_a_model_is_found_by_folder_run_or_shipped_name(small_run, folder, monkeypatch, tmp_path):
    assert find(folder) == find(str(folder)) == folder
    assert find(small_run) == small_run / "checkpoint"
    monkeypatch.setattr(checkpoints, "PRETRAINED", tmp_path / "shipped")
    shutil.copytree(folder, tmp_path / "shipped" / "little")
    assert find("little") == tmp_path / "shipped" / "little"
    with pytest.raises(CheckpointError, match=r"no checkpoint 'litle'.*shipped: little"):
        find("litle")


def test_no_file_can_run_code(folder):
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json", ".toml"}
    for path in folder.glob("*.safetensors"):
        assert json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])  # a JSON header


# -- refusals

TENSORS = ("model.safetensors", "priors.safetensors", "training.safetensors")
TEXTS = ("config.toml", "vocabulary.json", "ring_systems.json", "card.json")


def refuse(folder, *fragments):
    """Loading ends with one CheckpointError sentence with these fragments; through the public door too."""
    for door in (load, molvae.load):
        with pytest.raises(CheckpointError) as refusal:
            door(folder)
        text = str(refusal.value)
        assert "\n" not in text and text.endswith(".")
        for fragment in fragments:
            assert fragment in text


@pytest.mark.parametrize("name", [*TENSORS, *TEXTS])
def test_a_file_cut_in_half_is_refused(folder, name):
    if name == "ring_systems.json":
        (folder / name).write_text('["c1ccccc1", "C1C')
    else:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    refuse(folder, name)


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("content, what", [(b"", "missing or empty"), (b"\x00" * 50, "cut short or is not a safetensors")])
def test_a_tensor_file_of_nothing_is_refused(folder, name, content, what):
    (folder / name).write_bytes(content)
    refuse(folder, name, what)


@pytest.mark.parametrize("name", [*TENSORS, "vocabulary.json", "ring_systems.json"])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    refuse(folder, name)


def test_a_pickle_is_never_loaded(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    refuse(folder, "model.safetensors", "pickle")
    torch.save({"w": torch.zeros(3)}, folder / "model.safetensors")
    refuse(folder, "model.safetensors", "zip archive", "never loads")
    torch.save({"w": torch.zeros(3)}, tmp_path / "model.pt")
    refuse(tmp_path / "model.pt", "is a file", "Pickled models are never loaded")
    assert not (tmp_path / "sprung").exists()


def test_a_git_lfs_pointer_says_what_to_run(folder):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0f1e2d\nsize 16777216\n"
    (folder / "model.safetensors").write_text(pointer)
    refuse(folder, "git-lfs pointer", "git lfs pull")


def test_a_newer_format_asks_for_an_upgrade(folder):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "format": 99}))
    refuse(folder, "format 99", "Upgrade molvae")


@pytest.mark.parametrize("card", ["[]", "{}", '{"format": "one"}'])
def test_a_foreign_card_is_refused(folder, card):
    (folder / "card.json").write_text(card)
    refuse(folder, "card.json", "not a molvae model card")


@pytest.mark.parametrize(
    "old, new, fragment",
    [
        ('name = "vae"', 'name = "gan"', "no model named 'gan'"),
        ("latent = 24", "latnt = 24", "Did you mean 'latent'"),
        ("latent = 24", "latent = 0", "latent must be 1 or more"),
        ("latent = 24", 'latent = "many"', "latent must be a whole number"),
        ("[model]", "[network]", "does not describe a model"),
        ("latent = 24", "latent = 25", "of another model than config.toml says"),
        ("latent = 24", "latent = = 24", "not valid TOML"),
    ],
)
def test_a_config_of_another_model_is_refused(folder, old, new, fragment):
    text = (folder / "config.toml").read_text()
    assert old in text
    (folder / "config.toml").write_text(text.replace(old, new, 1))
    refuse(folder, fragment)


def test_weights_of_another_model_are_refused(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(iter(weights)))
    save_file(weights, folder / "model.safetensors")
    refuse(folder, "model.safetensors", "another model than config.toml says")


def test_a_vocabulary_of_another_model_is_refused(folder):
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    (folder / "vocabulary.json").write_text(json.dumps({**vocabulary, "tokens": vocabulary["tokens"][:-1]}))
    refuse(folder, "another model than config.toml says")


def test_an_unknown_prior_asks_for_an_upgrade(folder):
    save_file({"orbital.mean": torch.zeros(3)}, folder / "priors.safetensors")
    refuse(folder, "priors.safetensors", "'orbital'", "Upgrade molvae")


def test_damaged_lists_are_refused(folder):
    save_file({"hashes": torch.zeros(3)}, folder / "training.safetensors")
    refuse(folder, "damaged")


def test_places_that_hold_no_checkpoint_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    refuse(tmp_path, "is not a molvae checkpoint", "config.toml")
    refuse(tmp_path / "nowhere", "no checkpoint", "nowhere", "not a folder")


def test_a_place_that_cannot_be_written_is_a_run_error(small_run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        save(tmp_path / "file" / "checkpoint", load(small_run))
    assert issubclass(RunError, MolvaeError)


# -- molecules by hash


def test_hashes_are_sorted_unique_and_blake2b():
    hashes = molecule_hashes(["CCO", "CC", "CCO"])
    expected = {int.from_bytes(hashlib.blake2b(s, digest_size=8).digest(), "little", signed=True) for s in (b"CCO", b"CC")}
    assert hashes.dtype == np.int64 and hashes.tolist() == sorted(expected)
    assert molecule_hashes([]).shape == (0,)
