"""The house stands as drawn: imports run one way, heavy packages are loaded where they are used, and nobody prints."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "molvae"
REPOSITORY = PACKAGE.parent

# Each line may import from itself and from the lines above it.
LAYERS = (
    ("errors",),
    ("registry",),
    ("randomness", "files", "user_code"),
    ("config", "processes"),
    ("chem",),
    ("strings",),
    ("data",),
    ("models",),
    ("checkpoint",),
    ("generation",),
    ("training",),
    ("oracles",),
    ("objective",),
    ("history", "workers"),
    ("ledger",),
    ("search",),
    ("evaluation",),
    ("benchmark",),
    ("report",),
    ("uses",),
    ("cli",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
ROOT = ("__init__", "__main__")  # the public verbs, each imported when it is called
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "pretrained" not in path.parts)


def layer(path: Path) -> str:
    """The part of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, module) of every import statement of a file, those inside functions included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [(node.lineno, node.module)] if node.module != "molvae" else [
                (node.lineno, f"molvae.{name.name}") for name in node.names
            ]  # fmt: skip
    return found


def misplaced(path: Path) -> list[str]:
    """Imports of a file that run against the order of layers."""
    here = layer(path)
    faults = []
    for line, module in imports(path):
        parts = module.split(".")
        if parts[0] != "molvae" or len(parts) == 1 or parts[1] == "__version__":
            continue
        if RANK[parts[1]] > RANK[here]:
            faults.append(f"{path}:{line}: {here} must not import {module}")
    return faults


def test_every_part_has_its_place() -> None:
    parts = {layer(path) for path in FILES} - set(ROOT)
    assert parts == set(RANK), "a new part of the package gets a line in LAYERS, and one that has gone loses it"


@pytest.mark.parametrize("path", [p for p in FILES if layer(p) not in ROOT], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    assert misplaced(path) == []


def test_the_check_sees_a_wrong_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "oracles" / "planted.py"
    planted.parent.mkdir()
    planted.write_text("def f():\n    from molvae.search.run import optimize\n")
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert misplaced(planted) == [f"{planted}:2: oracles must not import molvae.search.run"]


def test_no_two_files_import_each_other() -> None:
    modules = {".".join(("molvae", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in FILES}
    graph = {
        name: {target for _, target in imports(path) if target in modules and target != name}
        for name, path in modules.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files


HEAVY = {"torch", "rdkit", "pandas", "numpy", "scipy", "pyarrow", "matplotlib", "botorch", "gpytorch", "selfies", "jinja2"}
HELP = """
from molvae.cli import main
try:
    main({arguments})
except SystemExit as end:
    assert not end.code
"""


def loaded_by(code: str) -> set[str]:
    """Top-level modules loaded after running `code` in a new process."""
    program = f"import sys\n{code}\nprint('LOADED', *{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=True, timeout=120
    )
    return set(done.stdout.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import molvae",
        HELP.format(arguments=["--help"]),
        HELP.format(arguments=["optimize", "--help"]),
    ],
    ids=["import", "help", "help of a verb"],
)
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    assert loaded_by(code) & HEAVY == set()


def test_loading_a_model_does_not_load_the_compiler() -> None:
    """torch._dynamo, which needs sympy, takes a second to import."""
    assert "sympy" not in loaded_by("import molvae; molvae.load('zinc250k')")


def test_workers_of_a_library_do_not_load_torch() -> None:
    assert "torch" not in loaded_by("import molvae.generation.library, molvae.data.derivation")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_house_rules(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert not text.strip() or ast.get_docstring(tree), "a file opens with what it is"
    assert len(text.splitlines()) <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert layer(path) == "cli", f"{path}:{node.lineno}: print only in the command line"
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) != "np.random.seed", f"{path}:{node.lineno}: nobody seeds the process"
    for _, module in imports(path):
        assert module.split(".")[0] not in ("pickle", "dill", "cloudpickle") or path.name == "workers.py", "no pickle files"
