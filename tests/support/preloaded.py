"""What commands import sooner or later, and what they do for the first time slowly: before any is forked."""

# ruff: noqa: F401 - to import them is what it is for

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import alembic.command
import alembic.config
import hydra._internal.core_plugins.bash_completion
import hydra._internal.core_plugins.basic_launcher
import hydra._internal.core_plugins.basic_sweeper
import hydra._internal.core_plugins.file_config_source
import hydra._internal.core_plugins.fish_completion
import hydra._internal.core_plugins.importlib_resources_config_source
import hydra._internal.core_plugins.structured_config_source
import hydra._internal.core_plugins.zsh_completion
import mlflow.store.tracking.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_workspace_store
import sqlalchemy.dialects.sqlite
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from mlflow.store.db import utils
from omegaconf.grammar_parser import parse
from PIL import Image

import hydra_plugins.hydra_nst.batched_launcher
import hydra_plugins.hydra_nst.grid_sweeper
import nst.app
import nst.execution.executors.processes
import nst.execution.grid_sweep
import nst.replay
import nst.report.build
import nst.report.drawing
import nst.tracking.background
import nst.tracking.command
import nst.tracking.logger
from nst.config.paths import CONF
from nst.errors import NstError
from nst.execution.batch import _commit, _versions
from nst.io.weights import _random, load_scorer

from . import mlflow_tables, parsed_once
from .drawing_here import DrawingHere
from .logging_here import LoggingHere
from .rundirs import make_sweep

Image.init()
# The parsers learn their grammar as they go.
for text in ("a=1", "a.b=[c,d],[e]", "+a='b c'", "~a", "a=range(0,3)", "a={b:1.5}", "a=null,true", "a=1e-3"):
    OverridesParser.create().parse_overrides([text])
for path in CONF.glob("[!es]*/*.yaml"):  # what most configs are composed of
    parsed_once._loaded(path.read_text())
parsed_once._loaded((CONF / "config.yaml").read_text())
for text in ("${a}", "${.a.b}", "${f:a,1}/b", "a ${b} c", "${oc.env:A,null}", "${now:%Y-%m-%d}"):
    parse(text)
with TemporaryDirectory() as folder:  # fonts, and the templates of pages
    nst.report.build.rebuild(make_sweep(Path(folder, "sweep"), "any", [["seed=0"]], size=16, iterations=2))
_commit(), _versions()

nst.tracking.background.LoggingProcess = LoggingHere  # type: ignore[misc, assignment]
nst.report.drawing.ChildProcess = DrawingHere  # type: ignore[misc, assignment]
utils._initialize_tables = mlflow_tables._initialize
head = utils._get_latest_schema_revision()  # of sixty files
utils._get_latest_schema_revision = lambda: head

_random("vgg16")  # without the warning, which each command gives
with suppress(NstError):  # where they cannot be had, each command says so
    load_scorer(torch.device("cpu"))
