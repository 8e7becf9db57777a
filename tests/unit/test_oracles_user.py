"""A user's own oracle, a function or a program: whatever it does, each molecule gets its own value or a reason."""

import math
import pickle
import sys
import textwrap

import numpy as np
import pytest

from molvae.errors import ConfigError, OracleError, UnknownName
from molvae.objective import Objective
from molvae.oracles import Measurement, probe, resolve
from molvae.workers import make_executor

FOUR = ["CO", "CCO", "CCCO", "CCCCO"]


@pytest.fixture
def user_file(tmp_path):
    def write(body, name="mine.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(body))
        return path

    return write


def values(measurements):
    return [None if math.isnan(m.value) else m.value for m in measurements]


def test_values_come_back_in_order(user_file):
    path = user_file("def score(smiles):\n    return [len(s) for s in smiles]\n")
    assert values(resolve(f"{path}:score").measure(FOUR)) == [2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("wrap", [tuple, np.array, lambda v: np.array(v, dtype=np.float32), lambda v: (x for x in v)])
def test_any_ordered_collection_of_numbers_is_fine(wrap):
    assert values(resolve(lambda smiles: wrap([len(s) for s in smiles])).measure(FOUR)) == [2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (None, "None"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        ("0.5", "text ('0.5')"),
        (np.str_("0.5"), "text"),
        ([1.0], "a list, not a number"),
        (1j, "a complex, not a number"),
        (10**400, "not a number"),
    ],
)
def test_one_bad_value_is_one_failure_with_its_reason(returned, reason):
    found = resolve(lambda smiles: [returned if s == "CCO" else 1.0 for s in smiles]).measure(FOUR)
    assert values(found) == [1.0, None, 1.0, 1.0]
    assert reason in found[1].reason


def test_a_function_that_drops_a_molecule_never_shifts_values():
    """A classic bug of users: failures are left out of the list."""
    found = resolve(lambda smiles: [len(s) for s in smiles if s != "CCO"]).measure(FOUR)
    assert values(found) == [2.0, None, 4.0, 5.0]
    assert found[1].reason.endswith("returned 0 values for 1 molecule")


def test_too_many_values_are_never_cut():
    found = resolve(lambda smiles: [1.0, *[2.0 for _ in smiles]]).measure(FOUR)
    assert values(found) == [None] * 4
    assert all("returned 2 values for 1 molecule" in m.reason for m in found)


@pytest.mark.parametrize("returned", [0.5, "0.5", {"CO": 1.0}, {1.0}, None])
def test_what_is_no_list_is_a_failure_of_all(returned):
    found = resolve(lambda smiles: returned).measure(FOUR)
    assert values(found) == [None] * 4
    assert all("not a list of numbers" in m.reason for m in found)


def test_an_exception_costs_the_molecule_that_caused_it(user_file):
    path = user_file(
        """
        def score(smiles):
            for s in smiles:
                if s == "CCCO":
                    raise ValueError("no conformer")
            return [float(len(s)) for s in smiles]
        """
    )
    found = resolve(f"{path}:score").measure(FOUR)
    assert values(found) == [2.0, 3.0, None, 5.0]
    assert found[2].reason == "score raised ValueError: no conformer"


def test_sys_exit_does_not_end_the_search_and_ctrl_c_does():
    def leave(smiles):
        sys.exit(3)

    def interrupt(smiles):
        raise KeyboardInterrupt

    assert "SystemExit: 3" in resolve(leave).measure(["CO"])[0].reason
    with pytest.raises(KeyboardInterrupt):
        resolve(interrupt).measure(["CO"])


def test_a_user_file_may_import_its_neighbours_early_and_late(user_file):
    user_file("factor = 10\n", "first_neighbour_of_mine.py")
    user_file("offset = 1\n", "second_neighbour_of_mine.py")
    path = user_file(
        """
        from first_neighbour_of_mine import factor

        def score(smiles):
            from second_neighbour_of_mine import offset
            return [factor * len(s) + offset for s in smiles]
        """
    )
    before = list(sys.path)
    oracle = resolve(f"{path}:score")
    assert values(oracle.measure(["CO"])) == [21.0]
    assert sys.path == before
    assert values(pickle.loads(pickle.dumps(oracle)).measure(["CO"])) == [21.0]  # noqa: S301 - made two words earlier


def test_a_file_that_cannot_be_used_is_told_about_before_any_call(user_file, tmp_path):
    path = user_file("def score(smiles): ...\ndef other(smiles): ...\nnumber = 3\n")
    with pytest.raises(OracleError, match=r"no scoring function 'scor'.*Did you mean 'score'.*score, other"):
        resolve(f"{path}:scor")
    with pytest.raises(OracleError, match="no scoring function 'number'"):
        resolve(f"{path}:number")
    with pytest.raises(OracleError, match="there is no file"):
        resolve(f"{tmp_path / 'absent.py'}:score")
    with pytest.raises(ConfigError, match="names a file but no function"):
        resolve(str(path))
    broken = user_file("import no_such_module_anywhere\n", "broken.py")
    with pytest.raises(
        OracleError, match="cannot be imported: ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    ):
        resolve(f"{broken}:score")
    wrong = user_file("def score(smiles:\n", "wrong.py")
    with pytest.raises(OracleError, match="SyntaxError"):
        resolve(f"{wrong}:score")


PROGRAM = """
import sys
rows = [line.rstrip("\\n").split("\\t") for line in sys.stdin]
mode = sys.argv[1]
if mode == "good":
    print("id\\tscore")
    for one, smiles in reversed(rows):
        print(f"{one}\\t{len(smiles)}\\tcomment")
if mode == "odd":
    print(f"{rows[0][0]}\\tnan\\n{rows[1][0]}\\tfast\\n{rows[2][0]}\\t1\\n{rows[2][0]}\\t2\\nm99\\t7\\n7.0")
if mode == "crash":
    for one, smiles in rows:
        if smiles == "CCO":
            sys.stdout.write(f"{one}\\t0.1")
            sys.stdout.flush()
            sys.exit("out of licences")
        print(f"{one}\\t{len(smiles)}")
if mode == "sleep":
    import time
    for one, smiles in rows:
        time.sleep(60 if smiles == "CCO" else 0)
        print(f"{one}\\t{len(smiles)}", flush=True)
if mode == "count":
    with open(sys.argv[2], "a") as starts:
        starts.write(f"{len(rows)}\\n")
    print("".join(f"{one}\\t{len(smiles)}\\n" for one, smiles in rows))
"""


@pytest.fixture
def program(user_file):
    path = user_file(PROGRAM, "program.py")
    return lambda mode: resolve(f"cmd:{sys.executable} '{path}' {mode}")


def test_a_programs_lines_are_matched_by_id_in_any_order(program):
    assert values(program("good").measure(FOUR)) == [2.0, 3.0, 4.0, 5.0]


def test_odd_lines_of_a_program_are_failures_of_their_own_molecule(program):
    found = program("odd").measure(FOUR)
    assert values(found) == [None] * 4
    assert [m.reason for m in found] == [
        "the score is nan",
        "the score is text ('fast'), not a number",
        "the command returned several values for it: 1, 2",
        "the command returned no value for it",
    ]


def test_a_crashed_program_costs_the_molecule_that_it_cannot_bear(program):
    found = program("crash").measure(FOUR)
    assert values(found) == [2.0, None, 4.0, 5.0]  # the second line has no end: 0.1 may be the start of 0.15
    assert found[1].reason == "the command ended with status 1: out of licences"


def test_a_program_that_hangs_is_stopped(program):
    oracle = program("sleep")
    oracle.timeout = 0.3
    found = oracle.measure(["CO", "CCO"])
    assert values(found) == [2.0, None]
    assert "longer than 0.3 s" in found[1].reason


def test_a_search_starts_a_program_for_many_molecules_at_once(program, tmp_path):
    smiles = ["C" * n for n in range(1, 41)]
    for workers, starts in ((0, [1, 2, 4, 8, 16, 9]), (1, [1, 2, 4, 8, 16, 9])):
        log = tmp_path / f"starts of {workers}"
        objective = Objective.from_specs(maximise=[f"cmd:{sys.executable} '{tmp_path / 'program.py'}' count '{log}'"])
        program("count")  # writes the file
        with make_executor(objective, workers) as executor:
            found = dict(executor.measure(smiles))
        assert [found[i].value for i in range(40)] == [float(n) for n in range(1, 41)]
        assert [int(line) for line in log.read_text().split()] == starts


def test_commands_are_split_but_not_given_to_a_shell(tmp_path):
    mark = tmp_path / "mark"
    resolve(f"cmd:echo x; touch {mark}").measure(["CO"])
    assert not mark.exists()
    with pytest.raises(ConfigError, match="Check its quotes"):
        resolve("cmd:awk 'open")
    with pytest.raises(ConfigError, match="names no program"):
        resolve("cmd:")
    with pytest.raises(OracleError, match="no program 'no-such-program'"):
        resolve("cmd:no-such-program --fast")


def test_resolve_names_the_nearest_and_checks_settings():
    with pytest.raises(UnknownName, match="Did you mean 'osimertinib_mpo'"):
        resolve("osimertinib_mp")
    with pytest.raises(ConfigError, match=r"no setting 'max_atoms'.*Did you mean 'max_heavy_atoms'"):
        resolve("penalised_logp(max_atoms=3)")
    with pytest.raises(ConfigError, match="cannot read the settings"):
        resolve("penalised_logp(max_heavy_atoms)")
    with pytest.raises(ConfigError, match="cannot read the oracle"):
        resolve("qed)(")
    oracle = resolve("qed")
    assert resolve(oracle) is oracle


def test_penalised_logp_by_hand_and_its_cap():
    """Toluene: logP 1.9952 (Wildman-Crippen, RDKit), SA 1.0, no ring above six; constants of Kusner et al. 2017."""
    toluene, decane_ring = resolve("penalised_logp").measure(["Cc1ccccc1", "C1CCCCCCCCC1"])
    expected = (toluene.components["logP"] - 2.4570953) / 1.4343244
    expected += (-toluene.components["SA"] + 3.0525811) / 0.8335207 + 0.0485697 / 0.2860212
    assert toluene.components["logP"] == pytest.approx(1.9952, abs=1e-3)
    assert toluene.value == pytest.approx(expected, abs=1e-6)
    assert decane_ring.components["ring_excess"] == 4.0
    assert resolve("penalised_logp").measure(["C" * 38])[0].value > 5
    assert resolve("penalised_logp").measure(["C" * 39])[0].reason == "39 heavy atoms, more than the cap of 38"
    assert resolve("penalised_logp(max_heavy_atoms=39)").measure(["C" * 39])[0].value > 5


def test_probe_reports_speed_failures_and_noise():
    counter = iter(range(1000))
    noisy = resolve(lambda smiles: [None if s == "CCO" else float(next(counter)) for s in smiles])
    report = probe(noisy, FOUR)
    assert not report.deterministic
    assert [one for one, _, _ in report.differences] == ["CO", "CCCO", "CCCCO"]
    assert report.failures == [("CCO", "the score is None")]
    assert report.values[0] == 0.0 and math.isnan(report.values[1])
    assert report.seconds_per_molecule >= 0
    assert probe(resolve("qed"), FOUR).deterministic


def test_an_oracle_that_breaks_the_contract_is_named():
    class Short(type(resolve("qed"))):
        def measure(self, smiles):
            return [Measurement(1.0)]

    with pytest.raises(OracleError, match="Short returned 1 measurements for 4 molecules"):
        probe(Short(max, {}), FOUR)
