"""Any command line, right or wrong, ends in a canvas about to be painted or in one line that names a key.

Hypothesis draws overrides over the schema, the groups of `conf/` and Hydra's own keys, all of them found by
walking those, and run.py's own `main` has to cope, in this process. `NST_DRAWS=5000 pytest
tests/config/test_overrides.py` draws 5000, other ones each time.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import hydra
import hydra.conf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command import command
from support.driven import JARGON, SMALL, driven, leaves, on_small

from nst.config.paths import ROOT
from nst.config.schema import Config, register
from nst.core.options import OPTIONS
from nst.execution.batch import run_batch
from nst.io.text import escape_unprintable

register()

DRAWS = int(os.environ.get("NST_DRAWS", "0"))


OURS = dict(leaves(Config))
for group, known in OPTIONS.items():
    for option in known.values():
        OURS |= dict(leaves(option, f"{group}."))
# Not what decides which program this is, or starts other programs.
HYDRAS = [
    key
    for key, _ in leaves(hydra.conf.HydraConf, "hydra.")
    if not key.startswith(("hydra.help", "hydra.hydra_help"))
]
HYDRAS += ["hydra.sweeper.params", "hydra.sweeper.max_batch_size", "hydra.callbacks.sweep.title"]
HYDRAS += ["hydra.callbacks.sweep.order", "hydra.job_logging.version", "hydra.launcher._target_"]


def options() -> dict[str, list[str]]:
    """Every group of `conf/`, with its options."""
    found: dict[str, list[str]] = {}
    for path in (ROOT / "conf").rglob("*.yaml"):
        group, _, option = path.relative_to(ROOT / "conf").with_suffix("").as_posix().partition("/")
        if option:
            found.setdefault(group, []).append(option)
    return {group: sorted(names) for group, names in sorted(found.items())}


GROUPS = options()
GROUPS.pop("hydra")
GROUPS |= {"hydra/launcher": ["batched", "basic", "joblib"], "hydra/sweeper": ["presets", "basic"]}
GROUPS |= {"hydra/job_logging": ["lab", "default", "disabled", "none", "stdout"], "hydra/env": ["default"]}

INTERPOLATIONS = [
    "${size}",
    "${seed}",
    "${model.name}",
    "${images}",
    "${images.content}",
    "${mode}",
    "${nope}",
    "${model.nope}",
    "${.nope}",
    "${..size}",
    "${size",
    "${}",
    "${oc.env:NOPE}",
    "${oc.env:NOPE,null}",
    "${oc.env:NOPE,3}",
    "${oc.env:}",
    "${oc.decode:'['}",
    "${oc.create:[1,2]}",
    "${oc.select:nope}",
    "${oc.dict.keys:model}",
    "${nope:1}",
    "${root:data/cat.png}",
    "${root:nope}",
    "${root:1,2}",
    "${or:null,5}",
    "${or:1}",
    "${now:%Y}",
    "${now:%}",
    "${hydra:run.dir}",
    "${hydra:nope}",
    "${hydra.job.num}",
    "${hydra.job.id}",
    "${outputs}/x",
    "${weights.style_layers}",
    "${weights.style_layers[0]}",
    "${iterations}${fps}",
]
STRANGE = ["", "''", '""', "null", "true", "false", "???", "nan", "inf", "-inf", "-0.0", "1e309", "1e-320"]
STRANGE += ["0x10", "1_000", "007", "[]", "{}", "[[]]", "[null]", "{a:1}", "[1,2,3,4,5]", "[1,1,nan]", "a,b"]
STRANGE += ["[conv1_1,conv2_1]", "{conv1_1:true}", "conv1_1", "[none]", "none", "[", "]", "{", "'", '"', "\\"]
STRANGE += [
    "a b",
    " ",
    "\t",
    "a=b",
    "=",
    ":",
    "::",
    "@",
    "/dev",
    "a/b",
    "..",
    ".",
    "a/../b",
    "*",
    "$",
    "$$",
    "#",
]
STRANGE += ["<script>", "[red]", "`x`", "|", "é東京", "\u202ex", "\x1b[31mred", "\udcff", "'a\nb'", "a\nb"]
STRANGE += ["x" * 300, "9" * 5000, "[" * 300, "'" + "x" * 300 + "'", "choice(1,2)", "range(1,3)", "glob(*)"]
STRANGE += ["int(3)", "str(3)", "sort(3,1)", "shuffle(1,2)", "json_str('[1]')", "extend_list(1)"]
PATHS = [
    "${root:data/cat.png}",
    "there.png",
    "text.txt",
    "folder",
    "text.txt/x",
    "nope/nope.png",
    "/dev/null",
]
PATHS += [
    "/dev/null/x",
    "/proc/nope",
    "cpu",
    "cuda",
    "cuda:99999999999999999999",
    "cuda:-1",
    "cuda:1",
    "auto",
]
PATHS += ["imagenet2", "sqlite:///x.db", "http://127.0.0.1:1", "~nobody/x.png", "~/x", "random"]

NUMBERS = st.one_of(
    st.integers(-3, 40).map(str),
    st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63), 10**18, 10**30, 10**400]).map(str),
    st.integers().map(str),
    st.floats().map(repr),
)
TEXTS = st.text(st.characters(exclude_characters="\0/~"), max_size=12)
GRAMMAR = st.text("${}[]()'\",:=@+~.\\ \tab1", max_size=12)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS, GRAMMAR, *map(st.sampled_from, (INTERPOLATIONS, STRANGE, PATHS))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: f"[{','.join(values)}]"),
        st.dictionaries(st.sampled_from(["a", "conv1_1", "1", ""]), inner, max_size=2).map(
            lambda pairs: "{" + ",".join(f"{key}:{value}" for key, value in pairs.items()) + "}"
        ),
        inner.map(lambda text: "'" + text.replace("'", "\\'") + "'"),
    ),
    max_leaves=4,
)


def right(kind: Any) -> st.SearchStrategy[str]:
    """Values of a type, most of which can be painted."""
    kinds = get_args(kind) or (kind,)
    if isinstance(kinds[0], type) and issubclass(kinds[0], Enum):
        return st.sampled_from([member.name for member in kinds[0]])
    if kinds[0] is bool:
        return st.sampled_from(["true", "false"])
    if kinds[0] in (int, float):
        return NUMBERS
    return st.sampled_from(PATHS + INTERPOLATIONS)


@st.composite
def one_override(draw: st.DrawFn) -> str:
    """`[sign]KEY=VALUE`, of which any part may be wrong."""
    sign = draw(st.sampled_from([""] * 8 + ["+", "++", "~"]))
    which = draw(st.integers(0, 9))
    if which < 5:
        key = draw(st.sampled_from(sorted(OURS)))
        value = draw(st.one_of(right(OURS[key]), VALUES))
    elif which < 7:
        key = draw(st.sampled_from(sorted(GROUPS)))
        names = st.sampled_from(GROUPS[key])
        several = st.lists(names, max_size=4).map(lambda chosen: f"[{','.join(chosen)}]")
        value = draw(st.one_of(names, several, VALUES))
    elif which < 9:
        key, value = draw(st.sampled_from(HYDRAS)), draw(VALUES)
    else:
        names = st.sampled_from([*OURS, *GROUPS]).map(lambda key: f"{key}s")
        # With a dash it is an option, on which argparse has its say.
        key = draw(st.one_of(TEXTS, GRAMMAR, names).filter(lambda key: not key.startswith("-")))
        value = draw(VALUES)
    package = draw(st.sampled_from([""] * 16 + ["@", "@_global_", "@model", "@a:b"]))
    equals = draw(st.sampled_from(["="] * 12 + ["", " = "]))
    return f"{sign}{key}{package}{equals}{value}"


COMMANDS = st.lists(one_override(), min_size=1, max_size=3)


def names_a_key(line: str, arguments: Sequence[str]) -> bool:
    """Whether a line begins with a key, holds what was given as it was given, or says what makes a path."""
    key = re.match(r"[+~]*([\w./]+)[^\w./]", line)
    given = {re.split("[=@]", part.lstrip("+~"))[0].strip() for part in arguments}
    layers = ("content_layers.", "style_layers.")
    known = bool(key and (key[1] in {*OURS, *GROUPS, *HYDRAS, *given} or key[1].startswith(layers)))
    return (
        known
        or "; outputs=FOLDER says" in line
        or any(escape_unprintable(part) in line for part in arguments)
    )


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder deep enough that `..` stays in the test's own."""
    folder = tmp_path / "a/b/c"
    (folder / "folder").mkdir(parents=True)
    (folder / "text.txt").write_text("no picture")
    shutil.copy(ROOT / "data/cat.png", folder / "there.png")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.e2e
@settings(
    max_examples=DRAWS or 20,
    derandomize=not DRAWS,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(arguments=COMMANDS, sweep=st.booleans(), painted=st.sampled_from([True] + [False] * 15))
def test_every_command_paints_or_is_refused_in_one_line_that_names_a_key(
    arguments: list[str], sweep: bool, painted: bool, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chdir(workplace)
    whole = on_small(["-m", *arguments, "plan=true"] if sweep else arguments)
    ended = driven(whole, monkeypatch)
    assert ended.code in (None, 0, 2), (whole, ended)
    assert "Traceback" not in ended.err
    if ended.code == 2:
        # A `hydra.verbose=true`, of this draw or of one before, has the log say more.
        check_refusal(
            "\n".join(line for line in ended.err.splitlines() if line.startswith("error: ")), arguments
        )
    if ended.job and painted:
        small = replace(ended.job.config, size=24, iterations=2)
        [result] = run_batch([replace(ended.job, config=small, folder=workplace / "painted")])
        # Not all that is finite stays so in two steps.
        assert result.error is None or "is not a finite number" in result.error, (whole, result)


def check_refusal(err: str, arguments: Sequence[str]) -> None:
    """One line, not counting warnings, that names a key."""
    [line] = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert line.startswith("error: ")
    line = line.removeprefix("error: ")
    assert names_a_key(line, arguments), line
    assert line.isprintable(), line
    assert not any(jargon in line for jargon in JARGON), line


# Each was once a traceback, several lines, a line without a key, or a folder that nobody had asked for.
@pytest.mark.parametrize(
    "arguments",
    [
        ["images.content=${oc.env:NOPE}"],
        ["tracking=${nope}"],
        ["hydra.verbose={}"],
        ["hydra.run.dir=text.txt/run"],
        ["outputs=text.txt"],
        ["images.content='\x1b[31m[red]\n.png'"],
        ["images.content=\udcff.png"],
        ["-m", "optimizer=null,adam"],
        ["-m", "size=16,0"],
        ["-m", "hydra/sweeper=[]"],
        ["++optimizers=0"],
        ["tracking.uri=${images}"],
        ["-m", "seed=1,2", "~hydra.callbacks.sweep"],
        ["hydra.callbacks.sweep=null"],
        ["~hydra.callbacks"],
        ["hydra.job.name=a,b"],
        ["-m", "hydra.job.name=a,b"],
        ["seed=range(1,3)"],
        ["~optimizer=3"],
        ["-m", "optimizer=1,2"],
        ["hardware.max_batch=1.5"],
        ["weights.style_layers=[null]"],
        ["weights.style_layers={a:1}"],
        ["optimizer.lr=null"],
    ],
    ids=ascii,
)
def test_what_drew_blood(arguments: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = driven(on_small(arguments), monkeypatch)
    assert ended.code == 2
    check_refusal(ended.err, arguments)


@pytest.mark.parametrize("sweep", [False, True])
@pytest.mark.parametrize("form", ["experiment={}", "+experiment={}", "'experiment=[{}]'", "hydra/env={}"])
@pytest.mark.parametrize("way", ["up", "absolute", "there and back"])
def test_a_preset_is_one_of_ours(
    form: str, way: str, sweep: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.yaml").write_text("# @package _global_\nseed: 5\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    up = os.path.relpath(tmp_path / "x", ROOT / "conf/experiment")
    names = {"up": up, "absolute": str(tmp_path / "x"), "there and back": "readme/../quickstart"}
    argument = form.format(names[way]).strip("'")
    arguments = ["-m", *SMALL, argument, "seed=1,2"] if sweep else [*SMALL, argument]
    ended = driven(arguments, monkeypatch)
    assert ended.code == 2
    assert ended.err == f"error: {argument}: no such option; give a name, without .. and / before it\n"
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.e2e
@pytest.mark.parametrize(
    "arguments",
    [
        ["size=abc"],
        ["images.content='\x1b[31m[red]\n.png'", "hydra.run.dir=run"],
        ["-m", "hydra.sweep.dir=text.txt/x", "seed=1,2"],
    ],
    ids=ascii,
)
def test_the_program_itself_says_one_line(arguments: list[str], workplace: Path) -> None:
    ended = command(workplace, *on_small(arguments))
    assert (ended.code, ended.out) == (2, "")
    check_refusal(ended.err, arguments)
