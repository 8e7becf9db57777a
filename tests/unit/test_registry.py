"""Names, settings and refusals of a registry; the folder scan, on a package made for the test."""

import sys

import pytest

from molvae.errors import ConfigError, UnknownName
from molvae.registry import Registry, typed


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry over a package with one good file, one that needs an absent package, and one more good file."""
    folder = tmp_path / "pets"
    folder.mkdir()
    (folder / "__init__.py").write_text("from molvae.registry import Registry\nPETS = Registry('pet', 'pets')\n")
    (folder / "cat.py").write_text(
        "from pets import PETS\n\n@PETS.register('cat', 'kitten')\nclass Cat:\n"
        "    def __init__(self, owner, *, lives: int = 9, weight: float = 4.0, name: str):\n"
        "        self.owner, self.lives, self.weight, self.name = owner, lives, weight, name\n"
    )
    (folder / "unicorn.py").write_text("import a_package_nobody_has\n")
    (folder / "dog.py").write_text("from pets import PETS\n\n@PETS.register('dog')\nclass Dog:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("pets").PETS
    for module in [m for m in sys.modules if m.split(".")[0] == "pets"]:
        del sys.modules[module]


def test_files_are_found_and_an_absent_package_hides_only_its_own_entry(registry):
    assert registry.names() == ["cat", "dog", "kitten"]
    assert "cat" in registry and "unicorn" not in registry
    with pytest.raises(UnknownName, match=r"no pet named 'unicorn'.*unicorn was skipped.*a_package_nobody_has"):
        registry.get("unicorn")


def test_a_finder_is_asked_for_what_no_name_stands_for(registry):
    class Stray:
        def __init__(self, owner, *, lives: int = 1):
            self.lives = lives

    assert registry.finder(lambda name: Stray if name == "stray.py:cat" else None) is not None
    assert registry.build("stray.py:cat", {"lives": 3}, "nobody").lives == 3
    assert registry.defaults("stray.py:cat") == {"lives": 1}
    assert "stray.py:cat" not in registry.names()
    with pytest.raises(UnknownName, match=r"no pet named 'stray\.py:dog'"):
        registry.get("stray.py:dog")


def test_an_unknown_name_suggests_the_nearest(registry):
    with pytest.raises(UnknownName, match="Did you mean 'kitten'"):
        registry.get("kiten")


def test_a_fault_inside_the_package_is_not_hidden(tmp_path, monkeypatch):
    folder = tmp_path / "faulty_pets"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text("import molvae.no_such_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match=r"molvae\.no_such_module"):
        Registry("pet", "faulty_pets").names()


def test_settings_are_the_keyword_only_parameters(registry):
    assert list(registry.settings("cat")) == ["lives", "weight", "name"]
    assert registry.defaults("cat") == {"lives": 9, "weight": 4.0}


def test_build_passes_positional_objects_and_settings(registry):
    cat = registry.build("cat", {"name": "Tom", "weight": 5}, "Ada")
    assert (cat.owner, cat.name, cat.lives, cat.weight) == ("Ada", "Tom", 9, 5.0)
    assert isinstance(cat.weight, float)


@pytest.mark.parametrize(
    "table, message",
    [
        ({"name": "Tom", "live": 3}, "no setting 'live'. Did you mean 'lives'"),
        ({}, "needs the setting 'name'"),
        ({"name": "Tom", "lives": "nine"}, "lives must be a whole number, not 'nine'"),
        ({"name": "Tom", "lives": 2.5}, "lives must be a whole number, not 2.5"),
        ({"name": "Tom", "lives": True}, "lives must be a whole number, not True"),
    ],
)
def test_build_refuses_in_a_sentence(registry, table, message):
    with pytest.raises(ConfigError, match=message):
        registry.build("cat", table, "Ada")


def test_a_name_cannot_be_taken_twice():
    registry = Registry("pet", "molvae")
    registry.register("cat")(int)
    registry.register("cat")(int)  # the same class again, as on a second import
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("cat")(str)


@pytest.mark.parametrize(
    "value, default, expected",
    [(3, 1.0, 3.0), ([1, 2], (), (1, 2)), (False, True, False), ("a", "b", "a"), ("anything", None, "anything")],
)
def test_typed_accepts_what_toml_can_say(value, default, expected):
    result = typed(value, default, "x")
    assert result == expected and type(result) is type(expected)


@pytest.mark.parametrize("value, default", [(1, True), (True, 1.0), ("1", 1), (1.0, 1), (1, "1"), ("abc", ())])
def test_typed_refuses_other_types(value, default):
    with pytest.raises(ConfigError, match="x must be"):
        typed(value, default, "x")
