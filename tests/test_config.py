"""Run files that are right: every key arrives, and what may change between two runs of one directory is told apart."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest

import running
from mcmc import config
from mcmc.architectures import ACTIVATIONS, ARCHITECTURES, Architecture
from mcmc.errors import ConfigError
from mcmc.losses import LOSSES
from mcmc.problem import Problem
from mcmc.samplers import SAMPLERS

RUNS = Path(__file__).parent.parent / "runs"

MINIMAL = """\
seed = 7
model = { n_inputs = 501, loss = { name = "error-count" } }
data = { source = "teacher", alpha = 1.2 }
ladder = { beta = [0, 0.5, 1] }
schedule = { sweeps = 100 }
"""


def test_defaults() -> None:
    run = config.loads(MINIMAL)
    assert (run.model.architecture, run.model.weights, run.model.loss.margin) == ("perceptron", "ising", 0.0)
    assert (run.model.loss.sharpness, run.data.inputs, run.data.labels) == (1.0, "binary", "sign")
    assert (run.data.label_noise, run.data.n_test, run.data.n_instances) == (0.0, 0, 1)
    assert (run.sampler.method, run.sampler.order) == ("metropolis", "random")
    assert (run.ladder.beta, run.ladder.n_copies, run.ladder.exchange_every) == ([0.0, 0.5, 1.0], 1, 1)
    assert (run.schedule.burn_in, run.schedule.measure_every, run.schedule.start) == (0, 1, "random")
    assert (run.checkpoint.every, run.checkpoint.walltime) == (300.0, None)
    assert (run.output.store_data, run.output.weights_every) == (True, 0)
    assert (run.n_weights, run.n_patterns, run.data_path) == (501, 601, None)
    assert run.student(501) == run.teacher(501) == Architecture("perceptron", 501)


@pytest.mark.parametrize(
    "path", sorted(set(RUNS.glob("*.toml")) - set(RUNS.glob("scan-*"))), ids=lambda path: path.name
)
def test_settings_are_toml(path: Path) -> None:
    """Every key, whether the run file has it or not, with its value."""
    run = config.load(path)
    found, expected = config.settings(run), msgspec.to_builtins(run)
    assert found.keys() >= {"seed", "model.loss.margin", "schedule.annealing.beta", "data.teacher.weights"}
    for key, value in found.items():
        leaf = expected
        for step in key.split("."):
            leaf = leaf[step]
        assert (tomllib.loads(f"x = {value}")["x"] if value else None) == leaf, key


def test_the_template_is_a_run_file_that_shows_every_key() -> None:
    text = config.template()
    assert config.loads(text).text == text
    for table in config.RunFile.__struct_fields__:
        for key in getattr(getattr(config.loads(text), table), "__struct_fields__", (table,)):
            assert key in text
    assert all(name in text for name in (*ARCHITECTURES, *ACTIVATIONS, *LOSSES))


def test_the_template_shows_values_that_can_be_used() -> None:
    """The keys of other architectures, brought in from their comments."""
    text = config.template().replace('architecture = "perceptron"', 'architecture = "committee"', 1)
    for line in ("n_hidden = 3", 'activation = "sign"', "[data.teacher]", 'architecture = "committee"', "n_hidden = 5"):
        assert f"\n# {line}" in text
        text = text.replace(f"\n# {line}", f"\n{line}", 1)
    run = config.loads(text)
    assert (run.student(101), run.teacher(101)) == (
        Architecture("committee", 101, 3),
        Architecture("committee", 101, 5),
    )


def test_config_is_frozen() -> None:
    run = config.loads(MINIMAL)
    with pytest.raises(AttributeError):
        run.seed = 3
    assert isinstance(run.model, msgspec.Struct)


@pytest.mark.parametrize(("n_inputs", "alpha", "n_patterns"), [(501, 1.2, 601), (5, 0.1, 1), (10, 0.25, 3), (7, 2, 14)])
def test_n_patterns_rounds_half_up(n_inputs: int, alpha: float, n_patterns: int) -> None:
    run = config.loads(MINIMAL, [f"model.n_inputs={n_inputs}", f"data.alpha={alpha}"])
    assert run.n_patterns == n_patterns


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("method", "order"), [(m, order) for m in SAMPLERS for order in SAMPLERS[m].orders])
def test_whatever_exists_is_accepted(loss: str, method: str, order: str) -> None:
    asked = {"model.loss.name": loss, "sampler.method": method}
    asked |= {
        "ladder.beta": "[0.5, 1]",
        "sampler.order": order,
        "data.source": "random",
        "schedule.burn_in": "2",
        "model.loss.margin": "0" if loss == "square" else "0.5",
    }
    run = config.loads(MINIMAL, [f"{key}={value}" for key, value in asked.items()])
    assert (run.model.loss.name, run.sampler.method, run.sampler.order) == (loss, method, order)


def _means_something(student: Architecture, loss: str, margin: float) -> bool:
    """The table of the losses in the contract, for students."""
    if loss == "symmetric":
        return student.name == "perceptron" and margin > 0
    if loss == "square":
        return margin == 0 and not student.is_parity
    if student.is_parity:
        return loss == "error-count" and margin == 0
    if not student.is_committee or loss != "error-count" or margin != 0:
        return True
    return student.activation != "relu" and (student.activation != "sign" or student.n_hidden % 2 == 1)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_takes_the_losses_that_mean_something(loss: str, margin: float, name: str) -> None:
    for n_hidden in (1,) if name == "perceptron" else (1, 2, 3):
        for activation in ACTIVATIONS if name.endswith("committee") else ("sign",):
            student = Architecture(name, 12, n_hidden, activation)
            overrides = [
                f"model.architecture={name}",
                f"model.n_hidden={n_hidden}",
                f"model.activation={activation}",
                "model.n_inputs=12",
                f"model.loss.name={loss}",
                f"model.loss.margin={margin}",
                "data.source=random",
            ]
            if _means_something(student, loss, margin):
                run = config.loads(MINIMAL, overrides)
                assert run.student(12) == student
                assert Problem(run).model.architecture == student
                assert (run.n_weights, run.n_patterns) == (student.n_weights, int(1.2 * student.n_weights + 0.5))
            else:
                with pytest.raises(ConfigError, match=r"^model\.(n_hidden|activation|loss\.name|loss\.margin): got "):
                    config.loads(MINIMAL, overrides)


COMMITTEE = ["model.n_inputs=12", "model.architecture=committee", "model.n_hidden=3", "model.loss.name=hinge"]


@pytest.mark.parametrize(
    ("overrides", "teacher"),
    [
        ([], Architecture("perceptron", 501)),
        (["data.teacher={}"], Architecture("perceptron", 501)),
        (["data.teacher.architecture=parity", "data.teacher.n_hidden=2"], Architecture("parity", 501, 2)),
        (
            ["data.teacher.architecture=tree-committee", "data.teacher.n_hidden=3"],
            Architecture("tree-committee", 501, 3),
        ),
        (COMMITTEE, Architecture("committee", 12, 3)),
        ([*COMMITTEE, "model.activation=erf"], Architecture("committee", 12, 3, "erf")),
        ([*COMMITTEE, "model.activation=erf", "data.teacher.n_hidden=2"], Architecture("committee", 12, 2, "erf")),
        ([*COMMITTEE, "model.activation=erf", "data.teacher.activation=sign"], Architecture("committee", 12, 3)),
        ([*COMMITTEE, "model.activation=erf", "data.teacher.architecture=parity"], Architecture("parity", 12, 3)),
        ([*COMMITTEE, "model.activation=erf", "data.teacher.architecture=perceptron"], Architecture("perceptron", 12)),
        ([*COMMITTEE, "data.teacher.architecture=tree-parity"], Architecture("tree-parity", 12, 3)),
        ([*COMMITTEE, "data.teacher.n_hidden=2", "data.teacher.weights=ising"], Architecture("committee", 12, 2)),
        (
            [*COMMITTEE, "data.teacher.activation=relu", "data.labels=logistic"],
            Architecture("committee", 12, 3, "relu"),
        ),
        (
            ["model.loss.name=square", "data.labels=real", "data.teacher={architecture='parity', n_hidden=2}"],
            Architecture("parity", 501, 2),
        ),
    ],
)
def test_a_teacher_is_the_student_but_for_what_is_said(overrides: list[str], teacher: Architecture) -> None:
    run = config.loads(MINIMAL, overrides)
    assert run.teacher(teacher.n_inputs) == teacher
    assert run.n_patterns == int(1.2 * run.n_weights + 0.5)  # alpha counts the student's weights


SECOND = [
    *COMMITTEE,
    "model.weights=gaussian",
    "model.activation=tanh",
    "model.second_layer=sampled",
    "sampler.method=pcn",
]
SECOND += ["schedule.sweeps=200", "schedule.burn_in=100"]


@pytest.mark.parametrize(
    ("changes", "teacher"),
    [
        ([], Architecture("committee", 12, 3, "tanh", True)),
        (["data.teacher.second_layer=fixed"], Architecture("committee", 12, 3, "tanh")),
        (["data.teacher.n_hidden=2"], Architecture("committee", 12, 2, "tanh", True)),
        (["data.teacher.architecture=tree-committee"], Architecture("tree-committee", 12, 3, "tanh", True)),
        (["data.teacher.architecture=parity"], Architecture("parity", 12, 3)),
        (["data.teacher.weights=ising"], Architecture("committee", 12, 3, "tanh")),
        (["data.teacher.weights=spherical"], Architecture("committee", 12, 3, "tanh")),
        (
            ["model.second_layer=fixed", "data.teacher.second_layer=sampled"],
            Architecture("committee", 12, 3, "tanh", True),
        ),
    ],
)
def test_the_second_layer_of_a_teacher(changes: list[str], teacher: Architecture) -> None:
    run = config.loads(MINIMAL, [*SECOND, *changes])
    assert run.teacher(12) == teacher
    assert run.student(12) == Architecture("committee", 12, 3, "tanh", "model.second_layer=fixed" not in changes)
    assert (run.n_weights, run.n_patterns) == ((36, 43) if "model.second_layer=fixed" in changes else (39, 47))
    assert Problem(run).instance(0).teacher.size == teacher.n_weights


def test_v_of_either_sign_makes_sense_of_machines_that_have_none_without() -> None:
    """Votes that tie, and outputs of one sign."""
    counts = [*SECOND, "model.loss.name=error-count", "model.n_hidden=2"]
    for activation in ("sign", "relu"):
        run = config.loads(MINIMAL, [*counts, f"model.activation={activation}", "data.n_test=3"])
        assert set(Problem(run).instance(0).labels) == {-1, 1}
        with pytest.raises(ConfigError):
            config.loads(MINIMAL, [*counts, f"model.activation={activation}", "model.second_layer=fixed"])


def test_a_teacher_of_the_same_shape_may_be_the_start() -> None:
    config.loads(MINIMAL, [*SECOND, "schedule.start=teacher"])
    config.loads(MINIMAL, [*COMMITTEE, "data.teacher.activation=tanh", "schedule.start=teacher"])


@pytest.mark.parametrize("start", ["random", "teacher"])
def test_a_problem_draws_from_the_teacher_that_the_run_file_names(start: str) -> None:
    overrides = [f"schedule.start={start}", "data.n_test=5", "model.n_inputs=33"]
    if start == "random":
        overrides += ["data.teacher.architecture=committee", "data.teacher.n_hidden=3"]
    problem = Problem(config.loads(MINIMAL, overrides))
    instance = problem.instance(1)
    teacher = Architecture("committee", 33, 3) if start == "random" else Architecture("perceptron", 33)
    assert problem.architecture == Architecture("perceptron", 33)
    assert instance.teacher_architecture == problem.teacher_architecture == teacher
    assert problem.has_teacher
    assert instance.teacher.shape == (teacher.n_weights,)
    outputs = teacher.output(instance.inputs, instance.teacher)
    np.testing.assert_array_equal(instance.labels, np.where(outputs >= 0, 1, -1))
    weights = problem.initial_weights(1, instance, range(3))
    assert (weights == instance.teacher).all() if start == "teacher" else weights.shape == (3, 33)


@pytest.mark.parametrize(
    "path", sorted(set(RUNS.glob("*.toml")) - set(RUNS.glob("scan-*"))), ids=lambda path: path.stem
)
def test_the_run_files_of_the_repository_are_right(path: Path) -> None:
    run = config.load(path)
    if run.data.source != "file":  # a script makes the file
        assert Problem(run).n_weights == run.n_weights


def test_a_problem_without_a_teacher() -> None:
    problem = Problem(config.loads(MINIMAL, ["data.source=random"]))
    assert not problem.has_teacher
    assert problem.teacher_architecture is None


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.loss.name=logistic", "model.loss.sharpness=2", "data.labels=logistic"],
        ["model.loss.name=square", "data.labels=real", "data.output_noise=0.1", "data.n_test=50"],
        ["model.loss.name=symmetric", "model.loss.margin=1", "data.source=random"],
        ["schedule.start=both", "ladder.n_copies=3", "data.label_noise=0.25"],
        ["schedule.start=teacher", "data.inputs=gaussian"],
        ['ladder.beta={ min = 0, max = 2, n = 5, spacing = "linear" }', "ladder.exchange_every=0"],
        ['ladder.beta={ min = 0.1, max = 2, n = 5, spacing = "linear-temperature" }'],
        ["ladder.beta={ min = 1, max = 1, n = 1 }"],
        ["ladder.beta=[1.0]", "model.loss.margin=-0.5"],
        ["schedule.sweeps=10", "schedule.burn_in=9", "schedule.measure_every=10"],
        ["seed=9223372036854775807"],
    ],
)
def test_good_combinations(overrides: list[str]) -> None:
    config.loads(MINIMAL, overrides)


def test_file_source_takes_its_size_from_the_file(tmp_path: Path) -> None:
    run_file = tmp_path / "run.toml"
    text = MINIMAL.replace('{ source = "teacher", alpha = 1.2 }', '{ source = "file", path = "sub/task.npz" }')
    run_file.write_text(text.replace("n_inputs = 501, ", ""))
    run = config.load(run_file, ["data.transform=binarise", "schedule.start=teacher"])
    assert (run.n_weights, run.n_patterns, run.data.transform) == (None, None, "binarise")
    assert (run.data.path, run.data_path) == ("sub/task.npz", tmp_path / "sub/task.npz")
    assert config.load(str(run_file), ["data.path=/data/task.csv"]).data_path == Path("/data/task.csv")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (5, 5.0),
        (0.5, 0.5),
        ("90", 90.0),
        ("30 s", 30.0),
        ("5 min", 300.0),
        ("5min", 300.0),
        ("1.5 h", 5400.0),
        ("2 Hours", 7200.0),
        ("1 day", 86400.0),
        ("23:50:00", 85800.0),
        ("10:30", 630.0),
        ("1-12:00:00", 129600.0),
    ],
)
def test_durations(value: float | str, seconds: float) -> None:
    assert config.duration(value, "--walltime") == seconds
    assert config.load({**_mapping(), "checkpoint": {"every": value}}).checkpoint.every == seconds


@pytest.mark.parametrize("value", ["", "5 parsecs", "-5 s", "1:2:3:4", "nan", "inf", "five", [5], None, 10**400])
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^--walltime: got "):
        config.duration(value, "--walltime")


def test_a_time_of_day_in_toml_is_a_duration() -> None:
    run = config.loads(MINIMAL + "checkpoint = { walltime = 23:50:00 }")
    assert run.checkpoint.walltime == 85800.0
    assert config.loads(MINIMAL, ["checkpoint.walltime=00:01:00"]).checkpoint.walltime == 60.0


def _mapping() -> dict[str, object]:
    return {
        "seed": np.int64(7),
        "model": {"n_inputs": np.int32(501), "loss": {"name": "error-count"}},
        "data": {"source": "teacher", "alpha": np.float64(1.2), "n_patterns": None},
        "ladder": {"beta": np.array([0.0, 0.5, 1.0])},
        "schedule": {"sweeps": 100},
    }


def test_a_mapping_with_numpy_values_is_a_run_file() -> None:
    run = config.load(_mapping())
    assert config.differences(run, config.loads(MINIMAL)) == []
    assert config.differences(run, config.loads(run.text)) == []


def test_overrides_leave_the_mapping_alone() -> None:
    mapping = _mapping()
    config.load(mapping, ["ladder.n_copies=4", "schedule.sweeps=3"])
    assert mapping["ladder"].keys() == {"beta"}
    assert mapping["schedule"] == {"sweeps": 100}


def test_text_is_verbatim_without_overrides() -> None:
    text = "# mine\n" + MINIMAL
    assert config.loads(text).text == text


def test_text_with_overrides_is_what_they_amount_to() -> None:
    run = config.loads(MINIMAL, ["ladder.n_copies = 4", "checkpoint.every=1 min", "model.loss.name=hinge"])
    assert (run.ladder.n_copies, run.checkpoint.every, run.model.loss.name) == (4, 60.0, "hinge")
    again = config.loads(run.text)
    assert msgspec.structs.replace(again, text="") == msgspec.structs.replace(run, text="")


def test_alpha_and_n_patterns_replace_each_other() -> None:
    assert config.loads(MINIMAL, ["data.n_patterns=9"]).n_patterns == 9
    with pytest.raises(ConfigError, match="both"):
        config.loads(MINIMAL, ["data.n_patterns=9", "data.alpha=1.0"])


def test_the_last_of_two_equal_overrides_counts() -> None:
    assert config.loads(MINIMAL, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], []),
        (["checkpoint.every=1 s", "checkpoint.walltime=1 h"], []),
        (["schedule.sweeps=101"], []),
        (["schedule.sweeps=99"], ["schedule.sweeps"]),
        (["schedule.burn_in=1"], ["schedule.burn_in"]),
        (["seed=8", "model.loss.margin=0.1"], ["model.loss.margin", "seed"]),
        (["ladder.beta={min=0, max=1, n=3}"], ["ladder.beta"]),
        (["output.store_data=false"], ["output.store_data"]),
        (["data.n_patterns=601"], ["data.alpha", "data.n_patterns"]),
        (
            ["data.teacher.architecture=parity", "data.teacher.n_hidden=3"],
            ["data.teacher.architecture", "data.teacher.n_hidden"],
        ),
        (["model.n_hidden=1"], ["model.n_hidden"]),
    ],
)
def test_differences(overrides: list[str], expected: list[str]) -> None:
    assert config.differences(config.loads(MINIMAL), config.loads(MINIMAL, overrides)) == expected


def test_a_generated_ladder_equals_itself() -> None:
    overrides = ["ladder.beta={min=0, max=1, n=3}"]
    assert config.differences(config.loads(MINIMAL, overrides), config.loads(MINIMAL, overrides)) == []


def test_windows_line_ends_and_greek_comments(tmp_path: Path) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_bytes(("# α = P/N\n" + MINIMAL).replace("\n", "\r\n").encode())
    assert config.load(run_file).seed == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"data.teacher.weights": "gaussian"},
        {"data.label_noise": 0.1},
        {"data.n_test": 10},
        {"data.inputs": "gaussian"},
        {"output.weights_every": 20},
        {"ladder.exchange_every": 0},
        {"constraint.overlap": 0.25},
        {"ladder.beta": {"min": 0.3, "max": 1.5, "n": 4}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_changes_of_every_table_are_named(changes: dict[str, object]) -> None:
    """tests/test_resume.py has more, through the command line."""
    before = {"constraint": {"reference": "teacher", "overlap": 0.5}} if "constraint.overlap" in changes else {}
    earlier, now = (config.load(running.tables(asked)) for asked in (before, before | changes))
    [change] = now.changes_since(earlier.text)
    assert change.startswith(f"{next(iter(changes))} was ")
