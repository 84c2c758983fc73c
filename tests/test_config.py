"""Run files that are right: every key arrives, and what may change between two runs of one directory is told apart."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from mcmc import config
from mcmc.errors import ConfigError
from mcmc.losses import LOSSES
from mcmc.models import MODELS
from mcmc.samplers import SAMPLERS

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


def test_the_template_is_a_run_file_that_shows_every_key() -> None:
    text = config.template()
    assert config.loads(text).text == text
    later = {"weights_every"}
    for table in config.RunFile.__struct_fields__:
        for key in getattr(getattr(config.loads(text), table), "__struct_fields__", (table,)):
            assert key in text or key in later


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
@pytest.mark.parametrize("architecture", MODELS)
def test_whatever_exists_is_accepted(loss: str, method: str, architecture: str, order: str) -> None:
    asked = {"model.loss.name": loss, "sampler.method": method, "model.architecture": architecture}
    asked |= {
        "ladder.beta": "[0.5, 1]",
        "sampler.order": order,
        "data.source": "random",
        "schedule.burn_in": "2",
        "model.loss.margin": "0" if loss == "square" else "0.5",
    }
    run = config.loads(MINIMAL, [f"{key}={value}" for key, value in asked.items()])
    assert (run.model.loss.name, run.sampler.method, run.model.architecture) == (loss, method, architecture)
    assert run.sampler.order == order


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
