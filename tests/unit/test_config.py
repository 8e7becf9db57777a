"""TOML out and in again, overrides, and refusals that name the place and the nearest setting."""

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from molvae.config import override, read_toml, settings, to_toml, write_toml
from molvae.errors import ConfigError


@dataclass(frozen=True)
class Oven:
    degrees: float = 180.0
    minutes: int = 40
    fan: bool = False
    dish: str = "lasagne"
    racks: tuple[str, ...] = ()


TABLES = [
    {},
    {"a": 1, "b": -2.5, "c": True, "d": "text", "e": []},
    {
        "quote": 'say "hi"',
        "slash": "C:\\temp",
        "lines": "one\ntwo\r\n\tthree",
        "control": "\x00\x07\x1b\x7f",
        "greek": "β → 1",
    },
    {"big": 2**62, "tiny": 1e-300, "huge": 1e300, "exponent": 1e-5, "whole": 3.0},
    {"model": {"name": "vae", "settings": {"hidden": 3, "inner": {"x": [1.5, 2.5]}}}, "data": {"words": 4}},
    {"empty": {}, "nested": {"empty": {}}},
    {"odd key": {"with.dot": 1, 'with "quote"': 2, "": 3}, "-_9": 4},
    {"list": ["a", "b\n"], "flags": [True, False], "tables": [{"x": 1, "y": {"z": "w"}}, {}]},
]


@pytest.mark.parametrize("table", TABLES)
def test_what_is_written_is_what_the_standard_library_reads(table):
    assert tomllib.loads(to_toml(table)) == table


def test_infinities_and_nan_survive():
    read = tomllib.loads(to_toml({"a": math.inf, "b": -math.inf, "c": math.nan}))
    assert read["a"] == math.inf and read["b"] == -math.inf and math.isnan(read["c"])


def test_none_is_left_out_but_its_table_stays():
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None}})) == {"b": {}}


def test_tuples_paths_and_numpy_floats_are_written_as_what_they_mean():
    table = {"racks": ("a", "b"), "path": Path("x") / "y", "number": np.float64(0.5)}
    assert tomllib.loads(to_toml(table)) == {"racks": ["a", "b"], "path": str(Path("x/y")), "number": 0.5}


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match="cannot write object as TOML"):
        to_toml({"x": object()})


def test_a_file_round_trips(tmp_path):
    write_toml(tmp_path / "config.toml", TABLES[4])
    assert read_toml(tmp_path / "config.toml") == TABLES[4]


@pytest.mark.parametrize(
    "content, message",
    [(b"a = 1\nb = \n", "not valid TOML.*line 2"), (b"\xff\xfe", "not valid TOML"), (None, "no configuration file")],
)
def test_a_bad_file_is_refused(tmp_path, content, message):
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_toml(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_toml(tmp_path)


def test_overrides_are_toml_values_or_words():
    table = {"model": {"latent": 64}, "kept": [1]}
    changed = override(
        table, ["model.latent=32", "model.encoder = gru", "training.decay=0.5", 'a.b.c=["x", 1]', "flag=true"]
    )
    assert changed == {
        "model": {"latent": 32, "encoder": "gru"},
        "kept": [1],
        "training": {"decay": 0.5},
        "a": {"b": {"c": ["x", 1]}},
        "flag": True,
    }
    assert table == {"model": {"latent": 64}, "kept": [1]}


@pytest.mark.parametrize(
    "assignment, message",
    [("model.latent", "form key=value"), ("=3", "form key=value"), ("model.latent.x=3", "'latent' is a value, not a table")],
)
def test_a_bad_override_is_refused(assignment, message):
    with pytest.raises(ConfigError, match=message):
        override({"model": {"latent": 64}}, [assignment])


def test_settings_fill_in_defaults_and_accept_whole_numbers_for_floats():
    oven = settings(Oven, {"degrees": 200, "racks": ["top"]}, "[oven]")
    assert oven == Oven(200.0, 40, False, "lasagne", ("top",)) and isinstance(oven.degrees, float)


@pytest.mark.parametrize(
    "table, message",
    [
        ({"degree": 3}, r"\[oven\] has no setting 'degree'. Did you mean 'degrees'\? It has: degrees, minutes"),
        ({"minutes": 1.5}, r"\[oven\].minutes must be a whole number, not 1.5"),
        ({"minutes": True}, "must be a whole number"),
        ({"fan": 1}, "must be true or false"),
        ({"degrees": "hot"}, "must be a number, not 'hot'"),
        ({"racks": "top"}, "must be a list"),
    ],
)
def test_settings_refuse_in_a_sentence(table, message):
    with pytest.raises(ConfigError, match=message):
        settings(Oven, table, "[oven]")
