"""Wrong run files, data files and command lines: one clear line on stderr, exit code 2, and nothing on disk.

Most cases are one edit of a good run file; `test_the_base_is_good` keeps that file honest.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from mcmc import config
from mcmc.cli import run_command
from mcmc.errors import ConfigError
from mutations import wrong_run_file
from running import CASES, tables, write_cases

BASE = """\
seed = 1
[model]
architecture = "perceptron"
weights = "ising"
n_inputs = 11
[model.loss]
name = "error-count"
margin = 0.0
[data]
source = "teacher"
alpha = 1.0
n_instances = 1
[sampler]
method = "metropolis"
[ladder]
beta = [0.5, 1.0]
n_copies = 2
exchange_every = 1
[schedule]
sweeps = 20
burn_in = 4
measure_every = 2
start = "random"
[checkpoint]
every = "5 min"
[output]
store_data = true
"""

RANGE = "beta = { min = 0.5, max = 1.0, n = 2 }"
FILE = 'source = "file"\npath = "task.npz"'


def _constraint(lines: str, fragments: list[str]) -> tuple[str, str, list[str]]:
    return "[sampler]", f"[constraint]\n{lines}\n[sampler]", fragments


TEACHER = 'reference = "teacher"\noverlap = '
REFERENCE_FILE = 'reference = "file"\noverlap = 0.5\npath = "absent.npz"'

# What is replaced in BASE, by what, and what the message must contain: the key, what was given, what is allowed.
EDITS = [
    # syntax
    ("seed = 1", "seed = ", ["run.toml", "line 1", "column 8"]),
    ("[model]", "[model", ["run.toml", "line 2"]),
    ("seed = 1", "seed = 1\nseed = 2", ["run.toml", "line 2"]),
    ("[model]", f"[deep]\n{'x.' * 400}y = 1\n[model]", ["run.toml", "nested too deeply"]),
    # unknown keys and tables
    ("n_copies = 2", "n_copys = 2", ["ladder.n_copys", "allowed", "did you mean 'n_copies'"]),
    ("[ladder]", "[laddr]", ["laddr", "allowed", "did you mean 'ladder'"]),
    ("[ladder]", "[scan]\nseed = [1]\n[ladder]", ["scan: unknown key", "; mcmc scan runs scan files"]),
    ("seed = 1", "seed = 1\nn_inputs = 3", ["n_inputs", "did you mean 'model.n_inputs'"]),
    ("sweeps = 20", "sweeps = 20\nalpha = 1.0", ["schedule.alpha", "did you mean 'data.alpha'"]),
    ("margin = 0.0", "kappa = 0.0", ["model.loss.kappa", "allowed in [model.loss]", "margin"]),
    ("store_data = true", '"a\\nb" = 1', ["output.a b", "unknown key"]),
    ("beta = [0.5, 1.0]", "beta = { min = 1.0, max = 2.0, m = 3 }", ["ladder.beta.m", "unknown key", "spacing"]),
    # missing keys
    ("seed = 1", "", ["seed", "missing", "an integer from 0"]),
    ("n_inputs = 11", "", ["model.n_inputs", "missing", "an integer >= 1"]),
    ('name = "error-count"', "", ["model.loss.name", "missing", "error-count, hinge"]),
    ('source = "teacher"', "", ["data.source", "missing", "teacher, random, file"]),
    ("beta = [0.5, 1.0]", "", ["ladder.beta", "missing", "a list of numbers or a table"]),
    ("beta = [0.5, 1.0]", "beta = { min = 0.5, max = 1.0 }", ["ladder.beta.n", "missing", "an integer >= 1"]),
    ("sweeps = 20", "", ["schedule.sweeps", "missing"]),
    # types
    ("seed = 1", "seed = 1.0", ["seed", "got 1.0", "an integer"]),
    ("seed = 1", "seed = true", ["seed", "got true", "an integer"]),
    ("n_copies = 2", 'n_copies = "two"', ["ladder.n_copies", "got 'two'", "an integer >= 1"]),
    ("n_inputs = 11", "n_inputs = [11]", ["model.n_inputs", "got [11]", "an integer >= 1"]),
    ("margin = 0.0", 'margin = "0"', ["model.loss.margin", "got '0'", "a finite number"]),
    ("store_data = true", "store_data = 1", ["output.store_data", "got 1", "true or false"]),
    ("beta = [0.5, 1.0]", "beta = 0.5", ["ladder.beta", "got 0.5", "a list of numbers or a table"]),
    ("beta = [0.5, 1.0]", 'beta = [0.5, "1.0"]', ["ladder.beta[1]", "got '1.0'", "a finite number >= 0"]),
    ("[sampler]\nmethod", "[[sampler]]\nmethod", ["sampler", "a table [sampler]"]),
    ('method = "metropolis"', 'method = ["metropolis"]', ["sampler.method", "got ['metropolis']", "heat-bath"]),
    # ranges
    ("seed = 1", "seed = -1", ["seed", "got -1", "0 to 2**63 - 1"]),
    ("seed = 1", "seed = 9223372036854775808", ["seed", "got 9223372036854775808", "0 to 2**63 - 1"]),
    ("n_inputs = 11", "n_inputs = 0", ["model.n_inputs", "got 0", "an integer >= 1"]),
    ("n_inputs = 11", "n_inputs = 1000000000000", ["model.n_inputs", "got 1000000000000", "below 2**31"]),
    ("margin = 0.0", "margin = nan", ["model.loss.margin", "got nan", "a finite number"]),
    ("margin = 0.0", "margin = inf", ["model.loss.margin", "got inf", "a finite number"]),
    ("n_instances = 1", "n_instances = 0", ["data.n_instances", "got 0", "an integer >= 1"]),
    ("n_instances = 1", "label_noise = 1.5", ["data.label_noise", "got 1.5", "a number from 0 to 1"]),
    ("n_instances = 1", "n_test = -1", ["data.n_test", "got -1", "an integer >= 0"]),
    ("n_copies = 2", "n_copies = 0", ["ladder.n_copies", "got 0", "an integer >= 1"]),
    ("exchange_every = 1", "exchange_every = -1", ["ladder.exchange_every", "got -1", "an integer >= 0"]),
    ("measure_every = 2", "measure_every = 0", ["schedule.measure_every", "got 0", "an integer >= 1"]),
    # names
    (
        'name = "error-count"',
        'name = "error-cuont"',
        ["loss.name", "'error-cuont'", "did you mean 'error-count'"],
    ),
    ('name = "error-count"', 'name = "Hinge"', ["model.loss.name", "got 'Hinge'", "did you mean 'hinge'"]),
    ('source = "teacher"', 'source = "student"', ["data.source", "got 'student'", "teacher, random, file"]),
    ('weights = "ising"', 'weights = "binary"', ["model.weights", "got 'binary'", "ising"]),
    ('method = "metropolis"', 'order = "sequental"', ["sampler.order", "'sequental'", "did you mean 'sequential'"]),
    ('start = "random"', 'start = "planted"', ["schedule.start", "got 'planted'", "random, teacher, both"]),
    ("n_instances = 1", 'inputs = "normal"', ["data.inputs", "got 'normal'", "binary, gaussian"]),
    ("n_instances = 1", 'labels = "signs"', ["data.labels", "got 'signs'", "did you mean 'sign'"]),
    ("beta = [0.5, 1.0]", RANGE[:-2] + ', spacing = "log" }', ["ladder.beta.spacing", "got 'log'", "geometric"]),
    ('method = "metropolis"', 'method = "hmcc"', ["sampler.method", "got 'hmcc'", "did you mean 'hmc'"]),
    # later work
    ('method = "metropolis"', 'method = "sgld"', ["sampler.method", "got 'sgld'", "for ising weights", "heat-bath"]),
    ('method = "metropolis"', "batch_size = 5", ["sampler.batch_size", "got 5", "no such key"]),
    ("store_data = true", "weights_every = -1", ["output.weights_every", "got -1"]),
    # sampler
    (
        'method = "metropolis"',
        'method = "waiting-time"\norder = "sequential"',
        ["sampler.order", "got 'sequential'", "'random'", "waiting-time"],
    ),
    ('method = "metropolis"', "step_size = 0.05", ["sampler.step_size", "got 0.05", "'metropolis' has order"]),
    ("n_inputs = 11", "n_inputs = 11\nprior_precision = 2.0", ["model.prior_precision", "got 2.0", "only gaussian"]),
    # what keys say together: loss
    ('name = "error-count"\nmargin = 0.0', 'name = "square"\nmargin = 0.5', ["model.loss.margin", "0.5", "no margin"]),
    ('"teacher"\nalpha', '"random"\nlabel_noise = 0.1\nalpha', ["data.label_noise", "got 0.1", "teacher"]),
    ('name = "error-count"', 'name = "symmetric"', ["model.loss.margin", "got 0.0", "a number > 0"]),
    (
        'name = "error-count"\nmargin = 0.0',
        'name = "symmetric"\nmargin = 1.0',
        ["data.source", "got 'teacher'", "labels play no part"],
    ),
    ("margin = 0.0", "sharpness = 2.0", ["model.loss.sharpness", "got 2.0", "no sharpness"]),
    ('name = "error-count"', 'name = "logistic"\nsharpness = 0.0', ["model.loss.sharpness", "got 0.0", "> 0"]),
    # data
    ("alpha = 1.0", "", ["data.alpha", "data.n_patterns", "neither", "one of the two"]),
    ("alpha = 1.0", "alpha = 1.0\nn_patterns = 11", ["data.alpha", "data.n_patterns", "both", "one of the two"]),
    ("alpha = 1.0", "alpha = 0.04", ["data.alpha", "got 0.04", "n_weights = 11"]),
    ("alpha = 1.0", "alpha = 1e300", ["data.alpha", "got 1e+300", "below 2**31"]),
    ("alpha = 1.0", "alpha = -1.0", ["data.alpha", "got -1.0", "> 0"]),
    ("alpha = 1.0", "n_patterns = 11.0", ["data.n_patterns", "got 11.0", "an integer >= 1"]),
    ("n_instances = 1", 'labels = "real"', ["data.labels", "got 'real'", "error-count"]),
    ("n_instances = 1", "output_noise = 0.1", ["data.output_noise", "got 0.1", "only 'real'"]),
    ("n_instances = 1", 'labels = "logistic"\nlabel_noise = 0.1', ["data.label_noise", "got 0.1", "only 'sign'"]),
    ("n_instances = 1", 'path = "task.npz"', ["data.path", "got 'task.npz'", "data.source = 'file'"]),
    ("n_instances = 1", 'transform = "binarise"', ["data.transform", "got 'binarise'", "data.source = 'file'"]),
    ('source = "teacher"\nalpha = 1.0', 'source = "file"', ["data.path", "missing", ".npz, .h5 or .csv"]),
    ('source = "teacher"', FILE, ["data.alpha", "got 1.0", "the file decides"]),
    ('source = "teacher"\nalpha = 1.0', FILE + '\ninputs = "binary"', ["data.inputs", "got 'binary'", "file decides"]),
    (
        '"teacher"\nalpha = 1.0\nn_instances = 1',
        '"file"\npath = "a.npz"\nn_instances = 2',
        ["data.n_instances", "got 2"],
    ),
    ('"teacher"\nalpha', '"random"\nn_test = 10\nalpha', ["data.n_test", "got 10", "teacher"]),
    # constraint
    _constraint("", ["constraint.reference", "missing", "magnetisation, teacher, file, run"]),
    _constraint('reference = "teacher"', ["constraint.overlap", "missing", "from -1 to 1"]),
    _constraint('reference = "tacher"', ["constraint.reference", "'tacher'", "did you mean 'teacher'"]),
    _constraint(TEACHER + "1.5", ["constraint.overlap", "got 1.5", "from -1 to 1"]),
    _constraint(TEACHER + "0.95", ["constraint.overlap", "got 0.95", "n_weights = 11", "single state"]),
    _constraint(TEACHER + '0.5\npath = "a.npz"', ["constraint.path", "got 'a.npz'", "'file'", "'run'"]),
    _constraint(TEACHER + "0.5\ncopy = 0", ["constraint.copy", "got 0", "constraint.reference = 'run'"]),
    _constraint('reference = "file"\noverlap = 0.5', ["constraint.path", "missing", ".npz"]),
    _constraint(REFERENCE_FILE, ["constraint.path", "absent.npz", "No such file"]),
    _constraint(REFERENCE_FILE.replace("absent.npz", "run.toml"), ["constraint.path", "run.toml", "read as .npz"]),
    _constraint(REFERENCE_FILE.replace('"file"', '"run"'), ["constraint.path", "absent.npz", "checkpoint"]),
    ("[sampler]", f'[constraint]\n{TEACHER}0.5\n[sampler]\norder = "sequential"', ["sampler.order", "pair flips"]),
    ('start = "random"', f'start = "teacher"\n[constraint]\n{TEACHER}0.5', ["schedule.start", "'random'"]),
    # ladder
    ("beta = [0.5, 1.0]", "beta = []", ["ladder.beta", "got []", "at least one"]),
    ("beta = [0.5, 1.0]", "beta = [1.0, 0.5]", ["ladder.beta", "got [1.0, 0.5]", "strictly increasing"]),
    ("beta = [0.5, 1.0]", "beta = [0.5, 0.5]", ["ladder.beta", "got [0.5, 0.5]", "strictly increasing"]),
    ("beta = [0.5, 1.0]", "beta = [-0.5, 1.0]", ["ladder.beta[0]", "got -0.5", ">= 0"]),
    ("beta = [0.5, 1.0]", "beta = [0.5, inf]", ["ladder.beta[1]", "got inf", "a finite number"]),
    (
        "beta = [0.5, 1.0]",
        "beta = { min = 0.5, max = 0.1, n = 2 }",
        ["ladder.beta.max", "got 0.1", "ladder.beta.min"],
    ),
    ("beta = [0.5, 1.0]", "beta = { min = 0.5, max = 1.0, n = 1 }", ["ladder.beta.n", "got 1", ">= 2"]),
    ("beta = [0.5, 1.0]", "beta = { min = 1.0, max = 1.0, n = 3 }", ["ladder.beta.n", "got 3", "1 where min = max"]),
    (
        "beta = [0.5, 1.0]",
        'beta = { min = 0.0, max = 1.0, n = 3, spacing = "geometric" }',
        ["ladder.beta.min", "got 0.0", "> 0 for geometric"],
    ),
    (
        "beta = [0.5, 1.0]",
        'beta = { min = 0.0, max = 1.0, n = 3, spacing = "linear-temperature" }',
        ["ladder.beta.min", "got 0.0", "> 0 for linear-temperature"],
    ),
    # schedule and checkpoint
    ("burn_in = 4", "burn_in = 20", ["schedule.burn_in", "got 20", "< schedule.sweeps = 20"]),
    ("burn_in = 4", "burn_in = -1", ["schedule.burn_in", "got -1", "an integer >= 0"]),
    ("sweeps = 20", "sweeps = 0", ["schedule.sweeps", "got 0", "an integer >= 1"]),
    ("measure_every = 2", "measure_every = 100", ["schedule.measure_every", "got 100", "sweeps 5 to 20"]),
    ('every = "5 min"', 'every = "5 fortnights"', ["checkpoint.every", "got '5 fortnights'", "5 min"]),
    ('every = "5 min"', "every = 0", ["checkpoint.every", "got 0", "> 0"]),
    ('every = "5 min"', "every = true", ["checkpoint.every", "got true"]),
    ('every = "5 min"', 'walltime = "soon"', ["checkpoint.walltime", "got 'soon'", "23:50:00"]),
]

COMMITTEE = ["model.architecture=committee", "model.n_hidden=3"]
TREE = ["model.architecture=tree-committee", "model.n_hidden=3", "model.n_inputs=12"]
PARITY = ["model.architecture=parity", "model.n_hidden=2"]
FROM_FILE = ['data={ source = "file", path = "task.npz" }']
SQUARE = ["model.loss.name=square", "data.labels=real"]

# Architectures: overrides of BASE, and what the message must contain.
MACHINES = [
    (["model.architecture=comittee"], ["model.architecture: got 'comittee'", "did you mean 'committee'"]),
    (["model.architecture=committee"], ["model.n_hidden: missing", "an integer >= 1", "a committee"]),
    (["model.architecture=tree-parity", *FROM_FILE], ["model.n_hidden: missing", "a tree-parity"]),
    ([*COMMITTEE, "model.n_hidden=0"], ["model.n_hidden: got 0", "an integer >= 1"]),
    ([*COMMITTEE, "model.n_hidden=3.0"], ["model.n_hidden: got 3.0", "an integer >= 1"]),
    ([*COMMITTEE, "model.n_hidden=999999999"], ["model.n_hidden: got 999999999", "from 1 to 65536"]),
    (
        [*COMMITTEE, "model.n_inputs=99999", "model.n_hidden=65535"],
        ["model.n_hidden: got 65535", "below 2**31", "n_inputs = 99999"],
    ),
    (["model.n_hidden=3"], ["model.n_hidden: got 3", "expected 1", "a perceptron"]),
    (["model.activation=erf"], ["model.activation: got 'erf'", "'sign'", "committees"]),
    ([*PARITY, "model.activation=tanh"], ["model.activation: got 'tanh'", "'sign'", "committees"]),
    ([*COMMITTEE, "model.activation=relut"], ["model.activation: got 'relut'", "did you mean 'relu'"]),
    ([*TREE, "model.n_inputs=11"], ["model.n_hidden: got 3", "a divisor of n_inputs = 11"]),
    ([*PARITY, "model.architecture=tree-parity"], ["model.n_hidden: got 2", "a divisor of n_inputs = 11"]),
    # losses
    ([*COMMITTEE, "model.n_hidden=4"], ["model.n_hidden: got 4", "an odd integer", "tie"]),
    ([*TREE, "model.n_hidden=2"], ["model.n_hidden: got 2", "an odd integer", "tie"]),
    ([*COMMITTEE, "model.activation=relu"], ["model.activation: got 'relu'", "error-count at margin 0", "never < 0"]),
    ([*PARITY, "model.loss.name=hinge"], ["model.loss.name: got 'hinge'", "'error-count'", "only -1 or +1"]),
    ([*PARITY, "model.loss.margin=0.5"], ["model.loss.margin: got 0.5", "expected 0", "only -1 or +1"]),
    (
        [*COMMITTEE, "model.loss.name=symmetric", "model.loss.margin=1", "data.source=random"],
        ["model.loss.name: got 'symmetric'", "a committee", "perceptron"],
    ),
    # teachers
    (
        ["data.source=random", "data.teacher.n_hidden=3"],
        ["data.teacher: got {'n_hidden': 3}", "data.source = 'teacher'"],
    ),
    ([*FROM_FILE, "data.teacher.architecture=parity"], ["data.teacher: got", "'parity'", "the student's architecture"]),
    (["data.teacher=committee"], ["data.teacher: got 'committee'", "a table [data.teacher]"]),
    (["data.teacher.n_units=3"], ["data.teacher.n_units: unknown key", "allowed in [data.teacher]", "n_hidden"]),
    (["data.teacher.n_inputs=3"], ["data.teacher.n_inputs: unknown key", "did you mean 'model.n_inputs'"]),
    (["data.teacher.architecture=comittee"], ["data.teacher.architecture: got 'comittee'", "did you mean 'committee'"]),
    (
        ["data.teacher.architecture=committee"],
        ["data.teacher.n_hidden: missing", "a committee", "a perceptron, has none"],
    ),
    (["data.teacher.n_hidden=3"], ["data.teacher.n_hidden: got 3", "expected 1", "a perceptron"]),
    (["data.teacher.n_hidden=two"], ["data.teacher.n_hidden: got 'two'", "an integer >= 1"]),
    (["data.teacher.activation=erf"], ["data.teacher.activation: got 'erf'", "'sign'", "committees"]),
    (
        [*COMMITTEE, "data.teacher.architecture=parity", "data.teacher.activation=erf"],
        ["data.teacher.activation: got 'erf'", "'sign'", "committees"],
    ),
    ([*TREE, "data.teacher.n_hidden=5"], ["data.teacher.n_hidden: got 5", "a divisor of n_inputs = 12"]),
    (
        [*COMMITTEE, "data.teacher.architecture=tree-parity"],
        ["data.teacher.n_hidden: got 3", "a divisor of n_inputs = 11"],
    ),
    ([*COMMITTEE, "data.teacher.n_hidden=999999999"], ["data.teacher.n_hidden: got 999999999", "from 1 to 65536"]),
    ([*COMMITTEE, "data.teacher.activation=relu"], ["data.labels: got 'sign'", "relu", "all labels +1"]),
    (
        [*COMMITTEE, "data.teacher.activation=relu", "data.labels=logistic", "data.n_test=9"],
        ["data.n_test: got 9", "expected 0", "relu"],
    ),
    (
        [*COMMITTEE, "data.teacher.n_hidden=5", "schedule.start=teacher"],
        ["schedule.start: got 'teacher'", "n_hidden = 5"],
    ),
    (
        [*COMMITTEE, "data.teacher.architecture=parity", "schedule.start=both"],
        ["schedule.start: got 'both'", "'random'", "(parity, n_hidden = 3)", "(committee, n_hidden = 3)"],
    ),
    ([*SQUARE, *PARITY], ["model.loss.name: got 'square'", "'error-count'"]),
]


GAUSSIAN = ["model.weights=gaussian", "model.loss.name=logistic", "schedule.sweeps=2000", "schedule.burn_in=1000"]
SPHERICAL = [*GAUSSIAN, "model.weights=spherical"]
MALA = [*GAUSSIAN, "sampler.method=mala"]
STEP = ["sampler.step_size=0.1"]
TANH = [*COMMITTEE, "model.activation=tanh"]
SECOND = ["model.second_layer=sampled"]
LANGEVIN = [*GAUSSIAN, "sampler.method=langevin"]
NOTHING_TO_TUNE = "accepts every step, there is nothing to tune by"

# Real weights: overrides of BASE, and what the message must contain.
REALS = [
    # the law
    (["model.weights=gausian"], ["model.weights: got 'gausian'", "did you mean 'gaussian'"]),
    ([*GAUSSIAN, "model.prior_precision=0"], ["model.prior_precision: got 0", "a finite number > 0"]),
    ([*SPHERICAL, "model.prior_precision=2"], ["model.prior_precision: got 2.0", "expected 1", "only gaussian"]),
    (
        [*SPHERICAL, *COMMITTEE, "model.architecture=tree-committee", "model.n_inputs=3", "sampler.method=metropolis"],
        ["model.weights: got 'spherical'", "'ising'", "one weight on the sphere"],
    ),
    ([*SPHERICAL, "model.n_inputs=1"], ["model.weights: got 'spherical'", "'ising'"]),
    # which method has which weights
    (
        [*GAUSSIAN, "sampler.method=waiting-time"],
        ["sampler.method: got 'waiting-time'", "mala", "for gaussian weights", "waiting-time is for ising ones"],
    ),
    ([*GAUSSIAN, "sampler.method=heat-bath"], ["sampler.method: got 'heat-bath'", "heat-bath is for ising ones"]),
    ([*GAUSSIAN, "sampler.method=auto"], ["sampler.method: got 'auto'", "auto is for ising ones"]),
    (["sampler.method=mala"], ["sampler.method: got 'mala'", "heat-bath", "mala is for spherical and gaussian ones"]),
    ([*SPHERICAL, "sampler.method=pcn"], ["sampler.method: got 'pcn'", "pcn is for gaussian ones"]),
    (
        [*SPHERICAL, "sampler.method=elliptical-slice"],
        ["sampler.method: got 'elliptical-slice'", "elliptical-slice is for gaussian ones"],
    ),
    # gradients
    *(
        ([*change, f"sampler.method={method}"], [f"sampler.method: got '{method}'", "random-walk", why])
        for method in ("mala", "hmc", "langevin", "underdamped")
        for change, why in (
            ([*GAUSSIAN, "model.loss.name=error-count"], "the error-count loss has no gradient"),
            ([*GAUSSIAN, *COMMITTEE], "the activation sign has no gradient"),
            ([*SPHERICAL, *PARITY, "model.loss.name=error-count"], "the error-count loss has no gradient"),
            (
                [*SPHERICAL, "model.loss.name=symmetric", "model.loss.margin=1", "data.source=random"],
                "the symmetric loss has no gradient",
            ),
        )
    ),
    # step sizes
    ([*MALA, "sampler.step_size=0"], ["sampler.step_size: got 0", "> 0"]),
    ([*MALA, "sampler.step_size=-0.1"], ["sampler.step_size: got -0.1", "> 0"]),
    ([*MALA, "sampler.step_size=inf"], ["sampler.step_size: got inf", "> 0"]),
    ([*MALA, "sampler.step_size=true"], ["sampler.step_size: got true", "> 0"]),
    ([*MALA, "sampler.step_size=atuo"], ["sampler.step_size: got 'atuo'", '"auto"']),
    ([*MALA, "sampler.step_size=[0.1]"], ["sampler.step_size: got [0.1]", "2 numbers, one per rung"]),
    ([*MALA, "sampler.step_size=[0.1, 0.0]"], ["sampler.step_size[1]: got 0.0", "a finite number > 0"]),
    ([*MALA, "sampler.step_size=[0.1, nan]"], ["sampler.step_size[1]: got nan", "a finite number > 0"]),
    ([*LANGEVIN, "sampler.step_size=auto"], ["sampler.step_size: got 'auto'", "a number > 0", NOTHING_TO_TUNE]),
    (LANGEVIN, ["sampler.step_size: missing", "a number > 0", NOTHING_TO_TUNE]),
    ([*GAUSSIAN, "sampler.method=underdamped"], ["sampler.step_size: missing", "a number > 0", NOTHING_TO_TUNE]),
    ([*GAUSSIAN, "sampler.method=pcn", "sampler.step_size=1.5"], ["sampler.step_size: got 1.5", "at most 1 for pcn"]),
    ([*MALA, "schedule.burn_in=0"], ["schedule.burn_in: got 0", "'auto' is tuned", "give a step size"]),
    # keys of other methods
    ([*MALA, "sampler.n_steps=5"], ["sampler.n_steps: got 5", "'mala' has step_size"]),
    ([*MALA, "sampler.friction=1.0"], ["sampler.friction: got 1.0", "'mala' has step_size"]),
    ([*MALA, "sampler.order=random"], ["sampler.order: got 'random'", "'mala' has step_size"]),
    ([*MALA, "sampler.precision=float16"], ["sampler.precision: got 'float16'", "float64, float32"]),
    (["sampler.precision=float32"], ["sampler.precision: got 'float32'", "'metropolis' has order"]),
    ([*GAUSSIAN, "sampler.precision=float32"], ["sampler.precision: got 'float32'", "'metropolis' has order"]),
    (
        [*GAUSSIAN, "sampler.method=elliptical-slice", *STEP],
        ["sampler.step_size: got 0.1", "'elliptical-slice' has precision"],
    ),
    ([*GAUSSIAN, "sampler.method=hmc", "sampler.n_steps=0"], ["sampler.n_steps: got 0", "an integer >= 1"]),
    # what else belongs to Ising weights, and teachers that are no states of the student
    (
        [*MALA, "constraint.reference=teacher", "constraint.overlap=0.5"],
        ["model.weights: got 'gaussian'", "'ising'", "[constraint]"],
    ),
    ([*GAUSSIAN, "sampler.method=sgld", "sampler.step_size=0.1"], ["sampler.batch_size: missing", "minibatch"]),
    (
        [*GAUSSIAN, "sampler.method=sgld", "sampler.step_size=0.1", "sampler.batch_size=1000"],
        ["sampler.batch_size: got 1000", "at most the"],
    ),
    ([*GAUSSIAN, "sampler.method=mala", "sampler.batch_size=2"], ["sampler.batch_size: got 2", "no such key"]),
    ([*GAUSSIAN, "sampler.method=pcn", "sampler.preconditioner=inputs"], ["sampler.preconditioner", "no such key"]),
    (
        [*GAUSSIAN, "sampler.method=mala", "sampler.preconditioner=dense"],
        ["sampler.preconditioner: got 'dense'", "none, diagonal, inputs"],
    ),
    (
        [*SPHERICAL, "model.loss.name=logistic", "sampler.method=mala", "sampler.preconditioner=inputs"],
        ["sampler.preconditioner: got 'inputs'", "'none' for spherical weights"],
    ),
    # the second layer
    (["model.second_layer=free"], ["model.second_layer: got 'free'", "one of fixed, sampled"]),
    (["model.second_layer=true"], ["model.second_layer: got true", "one of fixed, sampled"]),
    ([*MALA, *SECOND], ["model.second_layer: got 'sampled'", "'fixed' for a perceptron", "only committees"]),
    (
        [*MALA, *COMMITTEE, *SECOND, "model.architecture=parity", "model.loss.name=error-count"],
        ["model.second_layer: got 'sampled'", "'fixed' for a parity", "only committees"],
    ),
    ([*COMMITTEE, *SECOND], ["model.second_layer: got 'sampled'", "'fixed' for ising weights", "only gaussian"]),
    ([*SPHERICAL, *TANH, *SECOND], ["model.second_layer: got 'sampled'", "'fixed' for spherical weights"]),
    (
        [*GAUSSIAN, *TANH, *SECOND],
        [
            "sampler.method: got 'metropolis'",
            "one of random-walk, pcn, elliptical-slice, mala, hmc, langevin, sgld, underdamped:",
            "metropolis moves no weights of a second layer",
        ],
    ),
    (
        [*GAUSSIAN, *COMMITTEE, *SECOND, "model.loss.name=error-count"],
        ["sampler.method: got 'metropolis'", "one of random-walk, pcn, elliptical-slice:"],
    ),
    (
        [*MALA, *TANH, *SECOND, "sampler.preconditioner=diagonal"],
        ["sampler.preconditioner: got 'diagonal'", "'none' for weights with a second layer"],
    ),
    (
        [*MALA, *TANH, "data.teacher.second_layer=sampled", "data.teacher.weights=ising"],
        ["data.teacher.second_layer: got 'sampled'", "'fixed' for ising weights"],
    ),
    (
        [*MALA, "data.teacher.second_layer=sampled"],
        ["data.teacher.second_layer: got 'sampled'", "'fixed' for a perceptron"],
    ),
    (
        [*MALA, *TANH, *SECOND, "data.teacher.second_layer=fixed", "schedule.start=teacher"],
        [
            "schedule.start: got 'teacher'",
            "(committee, n_hidden = 3)",
            "(committee, n_hidden = 3, second layer sampled)",
        ],
    ),
    (["data.teacher.weights=real"], ["data.teacher.weights: got 'real'", "ising, spherical, gaussian"]),
    (
        ["data.teacher.weights=gaussian", "schedule.start=teacher"],
        ["schedule.start: got 'teacher'", "'random'", "gaussian weights are no state of ising ones"],
    ),
    (
        [*SPHERICAL, "sampler.method=mala", "data.teacher.weights=gaussian", "schedule.start=both"],
        ["schedule.start: got 'both'", "'random'", "gaussian weights are no state of spherical ones"],
    ),
]


def test_auto_needs_a_burn_in() -> None:
    text = _edited('method = "metropolis"', 'method = "auto"')
    for burn_in in (0, 1):
        with pytest.raises(ConfigError, match=f"^schedule.burn_in: got {burn_in}, expected an integer >= 2 .*'auto'"):
            config.loads(text, [f"schedule.burn_in={burn_in}"])
    assert config.loads(text, ["schedule.burn_in=2"]).sampler.method == "auto"


def _edited(old: str, new: str) -> str:
    assert old in BASE
    return BASE.replace(old, new, 1)


def _refused(argv: list[str], fragments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The command fails with exit code 2 and one line that holds every fragment."""
    code = run_command(argv)
    said = capsys.readouterr()
    assert (code, said.out) == (2, ""), said
    assert said.err.startswith("mcmc: error: ")
    assert said.err.count("\n") == 1, said.err
    assert said.err.endswith("\n")
    assert "Traceback" not in said.err
    for fragment in fragments:
        assert fragment in said.err


def _tree(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_the_base_is_good() -> None:
    assert config.loads(BASE).n_patterns == 11


@pytest.mark.parametrize(("old", "new", "fragments"), EDITS, ids=[f"{new[:40]!r}" for _, new, _ in EDITS])
def test_run_file(old: str, new: str, fragments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_text(_edited(old, new))
    _refused(["run", str(run_file), "-o", str(tmp_path / "out")], fragments, capsys)
    assert _tree(tmp_path) == {"run.toml"}


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [*MACHINES, *REALS],
    ids=[" ".join(words)[:110] for words, _ in [*MACHINES, *REALS]],
)
def test_overrides(
    overrides: list[str], fragments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_text(BASE)
    options = [word for override in overrides for word in ("--set", override)]
    _refused(["run", str(run_file), "-o", str(tmp_path / "out"), *options], fragments, capsys)
    assert _tree(tmp_path) == {"run.toml"}


RUN = ["run", "run.toml", "-o", "out"]

COMMANDS = [
    ([], ["no command", "run", "status"]),
    (["rnu"], ["'rnu'", "did you mean 'run'"]),
    (["simulate"], ["'simulate'", "run", "summary"]),
    (["--verson"], ["--verson", "--version"]),
    (["run"], ["RUN.toml"]),
    (["run", "run.toml"], ["-o DIR", "missing"]),
    (["run", "run.toml", "-o"], ["-o"]),
    ([*RUN, "more.toml"], ["more.toml"]),
    ([*RUN, "--quite"], ["--quite", "--quiet"]),
    ([*RUN, "--quiet=yes"], ["--quiet"]),
    (["run", "absent.toml", "-o", "out"], ["absent.toml", "No such file"]),
    (["run", "folder", "-o", "out"], ["folder", "directory"]),
    (["run", "binary.toml", "-o", "out"], ["binary.toml", "UTF-8"]),
    (["run", "empty.toml", "-o", "out"], ["missing"]),
    (["run", "run.toml", "-o", "empty.toml"], ["-o", "empty.toml", "a directory"]),
    ([*RUN, "--walltime", "soon"], ["--walltime", "got 'soon'", "5 min"]),
    ([*RUN, "--walltime", "-3"], ["--walltime", "got '-3'"]),
    ([*RUN, "--walltime", "0"], ["--walltime", "got '0'", "> 0"]),
    ([*RUN, "--set", "seed"], ["--set", "got 'seed'", "key=value"]),
    ([*RUN, "--set", "=3"], ["--set", "got '=3'", "key=value"]),
    ([*RUN, "--set", "ladder..n=3"], ["--set", "got 'ladder..n=3'"]),
    ([*RUN, "--set", "ladder.beta=[0.1,"], ["--set", "got 'ladder.beta=[0.1,'", "TOML"]),
    ([*RUN, "--set", "seed=1\nmodel=2"], ["--set", "one key=value"]),
    ([*RUN, "--set", "seed="], ["--set", "got 'seed='"]),
    ([*RUN, "--set", f"{'x.' * 400}y=1"], ["nested too deeply"]),
    (["scan", "run.toml", "-o", "out", "--set", f"{'x.' * 400}y=1"], ["nested too deeply"]),
    ([*RUN, "--set", "ladder.n_copys=4"], ["ladder.n_copys", "did you mean 'n_copies'"]),
    ([*RUN, "--set", "ladder.n_copies=four"], ["ladder.n_copies", "got 'four'", "an integer >= 1"]),
    ([*RUN, "--set", "ladder.beta.n=4"], ["--set", "ladder.beta.n=4", "ladder.beta is not"]),
    ([*RUN, "--set", "model.loss.name=hing"], ["model.loss.name", "got 'hing'", "did you mean 'hinge'"]),
    ([*RUN, "--set", "data.source=random", "--set", "schedule.start=teacher"], ["schedule.start", "no teacher"]),
    ([*RUN, "--set", "schedule.start=both", "--set", "ladder.n_copies=1"], ["ladder.n_copies", "got 1", ">= 2"]),
    (
        [
            *RUN,
            "--set",
            "data.source=random",
            "--set",
            "constraint.reference=teacher",
            "--set",
            "constraint.overlap=0.5",
        ],
        ["constraint.reference", "got 'teacher'", "no teacher"],
    ),
    ([*RUN, "--set", "schedule=3"], ["schedule", "got 3", "a table [schedule]"]),
    ([*RUN, "--set", "seed=" + "9" * 5000], ["seed", "got '9999", "..."]),
    (["run", "run.toml", "--dry-run", "--set", "seed=-1"], ["seed", "got -1"]),
    (["status"], ["DIR"]),
    (["status", "absent"], ["absent", "no such directory"]),
    (["status", "folder"], ["folder", "no run has started"]),
    (["summary", "absent"], ["absent", "no such directory"]),
    (["summary", "absent", "--jsn"], ["--jsn", "--json"]),
    (["summary", "folder"], ["folder", "no run has started"]),
    (["plot", "absent"], ["absent", "no such directory"]),
    (["plot", "folder", "--format", "gif"], ["--format", "gif", "png"]),
    (["new", "run.toml"], ["run.toml", "not overwritten"]),
    (["new", "absent/run.toml"], ["absent/run.toml", "cannot be written"]),
    (["info", "more"], ["more"]),
]


@pytest.mark.parametrize(("argv", "fragments"), COMMANDS, ids=[" ".join(argv)[:60] or "none" for argv, _ in COMMANDS])
def test_command_line(
    argv: list[str],
    fragments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run.toml").write_text(BASE)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.toml").touch()
    (tmp_path / "folder").mkdir()
    before = _tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    _refused(argv, fragments, capsys)
    assert _tree(tmp_path) == before
    assert (tmp_path / "run.toml").read_text() == BASE


INPUTS = np.where(np.random.default_rng(1).random((8, 11)) < 0.5, -1.0, 1.0)
LABELS = np.array([1.0, -1.0] * 4)

DATA_FILES = [
    ({}, ["data.inputs_key", "inputs"]),
    ({"inputs": INPUTS}, ["data.labels_key", "labels"]),
    ({"inputs": INPUTS[:, :9], "labels": LABELS}, ["inputs", "9", "model.n_inputs = 11"]),
    ({"inputs": INPUTS, "labels": LABELS[:5]}, ["labels", "(5,)", "(8,)"]),
    ({"inputs": INPUTS * np.nan, "labels": LABELS}, ["inputs", "nan", "finite"]),
    ({"inputs": INPUTS, "labels": (LABELS + 1) / 2}, ["labels", "-1 and +1"]),
    ({"inputs": INPUTS * 0 + 1, "labels": LABELS}, ["inputs", "equal"]),
    ({"inputs": INPUTS.astype(str), "labels": LABELS}, ["inputs", "real numbers"]),
    ({"inputs": INPUTS, "labels": LABELS, "teacher": np.ones(5)}, ["teacher", "(5,)", "(11,)"]),
]


@pytest.mark.parametrize(("arrays", "fragments"), DATA_FILES, ids=[" ".join(words) for _, words in DATA_FILES])
def test_data_file(
    arrays: dict[str, np.ndarray], fragments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "task.npz", **arrays)
    run_file = tmp_path / "run.toml"
    run_file.write_text(_edited('source = "teacher"\nalpha = 1.0', FILE))
    _refused(["run", str(run_file), "-o", str(tmp_path / "out")], ["task.npz", *fragments], capsys)
    assert _tree(tmp_path) == {"run.toml", "task.npz"}


@pytest.mark.parametrize(
    ("name", "content", "fragments"),
    [
        ("absent.npz", None, ["data.path", "absent.npz", "no such file"]),
        ("task.npz", b"nonsense", ["data.path", "task.npz", "cannot be read"]),
        ("task.h5", b"nonsense", ["data.path", "task.h5", "cannot be read"]),
        ("task.csv", b"1,-1,1\n1,-1\n", ["data.path", "task.csv", "line 2"]),
        ("task.txt", b"1,-1,1\n", ["data.path", "'.txt'", ".csv"]),
    ],
)
def test_unreadable_data_file(
    name: str, content: bytes | None, fragments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    run_file = tmp_path / "run.toml"
    run_file.write_text(_edited('source = "teacher"\nalpha = 1.0', FILE.replace("task.npz", name)))
    before = _tree(tmp_path)
    _refused(["run", str(run_file), "-o", str(tmp_path / "out")], fragments, capsys)
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("n_inputs", ["n_inputs = 11", ""])
@pytest.mark.parametrize(
    ("model", "teacher", "fragments"),
    [
        ('"tree-parity"\nn_hidden = 2', 11, ["model.n_hidden", "got 2", "a divisor of n_inputs = 11"]),
        ('"perceptron"\nn_hidden = 2', 11, ["model.n_hidden", "got 2", "expected 1"]),
        ('"committee"\nn_hidden = 3', 11, ["array 'teacher'", "(11,)", "(33,)", "committee"]),
    ],
)
def test_data_file_and_architecture(
    n_inputs: str, model: str, teacher: int, fragments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same finding whether the run file or the data file says how many inputs there are."""
    np.savez(tmp_path / "task.npz", inputs=INPUTS, labels=LABELS, teacher=np.ones(teacher))
    text = _edited('source = "teacher"\nalpha = 1.0', FILE)
    run_file = tmp_path / "run.toml"
    run_file.write_text(text.replace("n_inputs = 11", n_inputs).replace('"perceptron"', model))
    _refused(["run", str(run_file), "-o", str(tmp_path / "out")], fragments, capsys)
    assert _tree(tmp_path) == {"run.toml", "task.npz"}


ODD_VALUES = [
    "true",
    "-1",
    "0",
    "1e400",
    "-0.5",
    '""',
    '"x\\ny"',
    "[]",
    "[[1]]",
    "[true]",
    "{}",
    "{ a = 1 }",
    "1979-05-27",
]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_no_value_of_any_key_escapes(value: str) -> None:
    """Whatever stands at a key, the answer is a configuration or one line that starts with a key."""
    for table, struct in config.TABLES.items():
        for key in struct.__struct_fields__:
            path = f"{table}.{key}".lstrip(".")
            text = BASE.replace("beta = [0.5, 1.0]", RANGE) if table == "ladder.beta" else BASE
            message = _message(text, f"{path}={value}")
            assert message is None or re.fullmatch(r"(--set|[a-z_.]+(\[\d\])*(, [a-z_.]+)?): \S.*", message)


def _message(text: str, override: str) -> str | None:
    try:
        config.loads(text, [override])
    except ConfigError as error:
        return str(error)
    return None


# --- generated ---

RUNS = Path(__file__).parent.parent / "runs"
GOOD = [tomllib.loads(path.read_text()) for path in sorted(RUNS.glob("*.toml"))] + [*map(tables, CASES.values())]
N_GENERATED = [200, pytest.param(10_000, marks=pytest.mark.faults)]
ONE_LINE = re.compile(r"mcmc: error: [^\n]{1,900}\n")


@pytest.mark.parametrize("n_files", N_GENERATED)
def test_generated_run_files(
    n_files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Changes of good run files and scan files: one line and exit code 2, or a plan where they are right all the same.

    The machine and time that a plan asks for may be absurd.
    """
    monkeypatch.chdir(tmp_path)
    file, refused = tmp_path / "run.toml", 0
    for seed in range(n_files):
        rng = np.random.default_rng(seed)
        good = GOOD[rng.integers(len(GOOD))]
        file.write_bytes(wrong_run_file(good, rng))
        command = "scan" if "scan" in good else "run"
        code = run_command([command, "run.toml", "--dry-run"])
        said = capsys.readouterr()
        if code == 2:
            refused += 1
            assert ONE_LINE.fullmatch(said.err), (seed, said.err)
            assert said.err[:-1].isprintable(), (seed, said.err)
            assert said.out == ""
            assert run_command([command, "run.toml", "-o", "out"]) == 2, seed
            assert capsys.readouterr().err == said.err
        else:
            assert (code, said.err) == (0, ""), (seed, said.err)
            assert "memory" in said.out
        assert _tree(tmp_path) == {"run.toml"}
    assert refused > 0.9 * n_files


def test_the_generator_knows_good_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The control: unchanged, all of them have a plan."""
    write_cases(tmp_path)
    np.savez(tmp_path / "digits.npz", inputs=INPUTS, labels=LABELS)
    for good in GOOD:
        file = tmp_path / "good.toml"
        file.write_text(tomli_w.dumps(good))
        code = run_command(["scan" if "scan" in good else "run", str(file), "--dry-run"])
        assert (code, capsys.readouterr().err) == (0, ""), good
