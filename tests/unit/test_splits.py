"""Splits: exact shares, whole scaffolds, lists that are what they say."""

import json
from pathlib import Path

import numpy as np
import pytest

from molvae.data.splits import TEST, TRAIN, UNUSED, VALIDATION, GivenSplit, random_split, scaffold_split
from molvae.errors import ConfigError, DataError


def test_random_shares_are_exact_and_depend_on_the_seed() -> None:
    parts = random_split(1000, 0.1, 0.25, 3)
    assert np.bincount(parts).tolist() == [650, 100, 250]
    assert (parts == random_split(1000, 0.1, 0.25, 3)).all()
    assert (parts != random_split(1000, 0.1, 0.25, 4)).any()
    assert not random_split(10, 0, 0, 0).any()


def test_no_scaffold_is_in_two_parts_and_no_part_is_too_large() -> None:
    draw = np.random.default_rng(0)
    scaffolds = np.concatenate([np.full(300, -5), draw.integers(0, 200, 700)])  # one scaffold with 30% of all
    parts = scaffold_split(scaffolds, 0.1, 0.2, 1)
    for scaffold in np.unique(scaffolds):
        assert len(np.unique(parts[scaffolds == scaffold])) == 1
    assert (parts[scaffolds == -5] == TRAIN).all()
    assert np.bincount(parts, minlength=3)[1:].tolist() == [100, 200], "small scaffolds fill both parts"
    assert (parts == scaffold_split(scaffolds, 0.1, 0.2, 1)).all()
    assert (parts != scaffold_split(scaffolds, 0.1, 0.2, 2)).any()


def given(folder: Path, value: object) -> GivenSplit:
    (folder / "split.json").write_text(json.dumps(value))
    return GivenSplit(folder / "split.json")


def test_a_list_is_the_test_part_and_a_table_names_all(tmp_path: Path) -> None:
    rows = np.arange(6)
    assert given(tmp_path, [0, 3]).parts(rows).tolist() == [TEST, TRAIN, TRAIN, TEST, TRAIN, TRAIN]
    table = given(tmp_path, {"validation": [1], "test": [0]})
    assert table.parts(rows).tolist() == [TEST, VALIDATION, *[TRAIN] * 4] and table.largest == 1
    table = given(tmp_path, {"train": [0, 1], "test": [4]})
    assert table.parts(rows).tolist() == [TRAIN, TRAIN, UNUSED, UNUSED, TEST, UNUSED]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"train": [1, 2], "test": [2]}, "row 2 in both 'train' and 'test'"),
        ([4, 4], "row 4 twice in 'test'"),
        ([-1], "not a list of row numbers"),
        ([True], "not a list of row numbers"),
        (["1"], "not a list of row numbers"),
        ({"test": 3}, "not a list of row numbers"),
        ("text", "neither a list"),
    ],
)
def test_wrong_lists_are_refused(tmp_path: Path, value: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        given(tmp_path, value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'validation'"):
        given(tmp_path, {"valid": [1]})
    with pytest.raises(DataError, match="no file"):
        GivenSplit(tmp_path / "absent.json")
    (tmp_path / "torn.json").write_text("[1, 2")
    with pytest.raises(DataError, match="is not JSON"):
        GivenSplit(tmp_path / "torn.json")
