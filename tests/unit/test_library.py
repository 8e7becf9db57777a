"""Libraries: exactly n molecules, each stage of attrition counted, the same at any number of workers."""

from pathlib import Path

import numpy as np
import pytest
import selfies
from rdkit import Chem
from rdkit.Chem import QED, Crippen, rdMolDescriptors

import molvae
from molvae.data.tables import read_molecules
from molvae.errors import ConfigError, UnknownName
from molvae.generation.filters import Bound, read_filters
from molvae.generation.library import Library, generate
from molvae.strings.tokens import Vocabulary

ETHANOL, PROPANOL, BENZENE, PHENOL = (selfies.encoder(s) for s in ("CCO", "CCCO", "c1ccccc1", "Oc1ccccc1"))
CYCLOOCTYNE = selfies.encoder("C1CCCCCC#C1")
AZO = selfies.encoder("c1ccccc1N=Nc1ccccc1")
UNFAITHFUL = "[F][C][C]"  # fluorine takes one bond: fine; the next line takes two, which the grammar lowers
REPAIRED = "[F][=C][C]"


class Scripted:
    """A model that writes a list of strings over and over."""

    vocabulary = Vocabulary([])
    ring_systems = frozenset({"c1ccccc1"})

    def __init__(self, strings: list[str], known: tuple[str, ...] = ()) -> None:
        self.strings, self.known, self.at = strings, known, 0

    def sample_latents(self, n: int, *, seed: int, prior: str | None = None) -> np.ndarray:
        return np.zeros((n, 1), np.float32)

    def write(self, z: np.ndarray, **_: object) -> list[str]:
        self.at += len(z)
        return [self.strings[i % len(self.strings)] for i in range(self.at - len(z), self.at)]

    def is_training_molecule(self, smiles: list[str]) -> np.ndarray:
        return np.array([s in self.known for s in smiles])


def drawn(library: Library) -> dict[str, int]:
    return {name: library.funnel.left[name] for name in library.funnel.names}


def test_every_stage_is_counted_once_and_in_order() -> None:
    script = [ETHANOL, REPAIRED, CYCLOOCTYNE, ETHANOL, AZO, BENZENE, "", PHENOL, PROPANOL]
    # the empty string is invalid; the second ethanol a repeat; phenol is known; cyclooctyne is not sane; azobenzene is a
    # PAINS alert; benzene has a logP above 1. Ethanol and propanol are left.
    model = Scripted(script, known=("Oc1ccccc1",))
    library = generate(2, model=model, unique=True, novel=True, filters=["sane,PAINS", "logP<1"])
    assert library.smiles == ["CCO", "CCCO"]
    assert drawn(library) == {
        "drawn": 9, "valid": 8, "faithful": 7, "unique": 6, "novel": 5, "sane": 4, "PAINS": 3, "logP<1": 2,
    }  # fmt: skip
    assert library.statement == ""
    reasons = library.funnel.reasons
    assert dict(reasons["valid"]) == {"empty string": 1}
    assert dict(reasons["novel"]) == {"in the training set": 1}
    assert set(reasons["sane"]) == {"triple bond in a ring of at most 8 atoms", "ring system not seen in training"}
    assert any(name.startswith("azo") for name in reasons["PAINS"])
    assert library.funnel.lines()[1].split() == ["valid", "8", "-1:", "empty", "string", "1"]


def test_too_few_molecules_are_returned_with_a_statement() -> None:
    library = generate(3, model=Scripted([ETHANOL, BENZENE, REPAIRED]), unique=True, filters=["logP<1"], max_draws=30)
    assert library.smiles == ["CCO"]
    assert drawn(library)["drawn"] == 30
    # Of 20 faithful draws 18 are repeats, more than the 10 unfaithful and the 1 above the bound.
    assert library.statement.startswith("only 1 of 3 molecules were found among 30 draws; most were lost at 'unique' (18)")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_core_is_kept_and_what_lacks_it_counted(workers: int) -> None:
    script = [ETHANOL, PHENOL, BENZENE, AZO]
    library = generate(2, model=Scripted(script), keep="[#6;a]~[#8,#7]", filters=["logP<3"], max_draws=4, workers=workers)
    query = Chem.MolFromSmarts("[#6;a]~[#8,#7]")
    assert library.smiles == [s for s in ("CCO", "Oc1ccccc1", "c1ccccc1") if Chem.MolFromSmiles(s).HasSubstructMatch(query)]
    assert drawn(library) == {"drawn": 4, "valid": 4, "faithful": 4, "keep [#6;a]~[#8,#7]": 2, "logP<3": 1}
    assert dict(library.funnel.reasons["keep [#6;a]~[#8,#7]"]) == {"without the core": 2}


def test_unfaithful_molecules_are_dropped_unless_asked_for() -> None:
    strict = generate(2, model=Scripted([REPAIRED, ETHANOL]), properties=())
    assert strict.columns == {"smiles": ["CCO", "CCO"]}
    loose = generate(2, model=Scripted([REPAIRED, ETHANOL]), properties=(), keep_unfaithful=True)
    assert loose.columns == {"smiles": ["CCF", "CCO"], "faithful": [False, True]}
    assert "faithful" not in loose.funnel.names
    assert generate(1, model=Scripted([UNFAITHFUL]), properties=()).smiles == ["CCF"]


def test_properties_are_rdkits() -> None:
    library = generate(1, model=Scripted([AZO]), properties=["QED", "logP", "rings", "TPSA"])
    mol = Chem.MolFromSmiles("c1ccccc1N=Nc1ccccc1")
    assert list(library.columns) == ["smiles", "QED", "logP", "rings", "TPSA"]
    assert library.columns["QED"] == [round(QED.qed(mol), 4)]
    assert library.columns["logP"] == [round(Crippen.MolLogP(mol), 4)]
    assert library.columns["rings"] == [2]
    assert isinstance(library.columns["rings"][0], int)
    assert library.columns["TPSA"] == [round(rdMolDescriptors.CalcTPSA(mol), 4)]


@pytest.mark.parametrize(("bound", "passing"), [("<=", (0.9, 1.0)), (">=", (1.0, 1.1)), ("<", (0.9,)), (">", (1.1,))])
def test_bounds(bound: str, passing: tuple[float, ...]) -> None:
    values = (0.9, 1.0, 1.1, float("nan"))
    assert tuple(v for v in values if Bound("SA", bound, 1.0).holds(v)) == passing


def test_filters_are_read_from_text() -> None:
    assert read_filters(["sane,alerts,SA<=4", "logP > -1.5", "sane"]) == [
        "sane", "alerts", Bound("SA", "<=", 4.0), Bound("logP", ">", -1.5),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="Did you mean 'sane'"):
        read_filters(["sain"])
    with pytest.raises(UnknownName, match="Did you mean 'QED'"):
        read_filters(["QD>0.5"])


@pytest.mark.parametrize(
    "settings", [{"n": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"properties": ["qq"]}, {"keep": "c1cc"}]
)
def test_wrong_settings_are_refused_before_any_work(settings: dict) -> None:
    with pytest.raises(ConfigError):
        generate(**{"n": 1, "model": Scripted([ETHANOL]), **settings})


def test_a_trained_model_fills_a_library(tiny_model: Path, tmp_path: Path) -> None:
    model = molvae.load(tiny_model, device="cpu")
    library = molvae.generate(30, model=model, seed=5, novel=True, unique=True, temperature=1.0)
    assert len(library) == len(set(library.smiles)) == 30
    assert all(Chem.CanonSmiles(s) == s for s in library.smiles)
    assert not model.is_training_molecule(library.smiles).any()
    library.save(tmp_path / "library.csv")
    assert read_molecules(tmp_path / "library.csv").smiles == library.smiles
    assert library.to_frame().shape == (30, 10)
    # A smaller library is the beginning of a larger one; another seed is another library.
    assert molvae.generate(10, model=model, seed=5, novel=True, unique=True, temperature=1.0).smiles == library.smiles[:10]
    assert molvae.generate(10, model=model, seed=6, novel=True, unique=True, temperature=1.0).smiles != library.smiles[:10]


def test_workers_do_not_change_the_library(tiny_model: Path) -> None:
    alone, together = (
        generate(60, model=str(tiny_model), seed=1, temperature=1.0, filters=["sane"], workers=n) for n in (0, 2)
    )
    assert together.columns == alone.columns
    assert drawn(together) == drawn(alone)
    assert together.funnel.reasons == alone.funnel.reasons
