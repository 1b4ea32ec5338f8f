"""What the documents say of the code is so."""

import re
from pathlib import Path

from nst.config.schema import ROOT
from nst.tracking.client import Store
from nst.tracking.logger import run_url


def test_servers_that_we_tell_to_start_are_for_this_machine_alone(tmp_path: Path) -> None:
    texts = [ROOT / "README.md", ROOT / "Makefile"]
    for folder, kinds in {"docs": "md py", "nst": "py", "benchmarks": "md py", "conf": "yaml"}.items():
        texts += [path for kind in kinds.split() for path in (ROOT / folder).rglob(f"*.{kind}")]
    found = 0
    for path in texts:
        for line in path.read_text().splitlines():
            words = re.sub("""[\\s"',]+""", " ", line)
            assert not re.search(r"0\.0\.0\.0|http\.server|HTTPServer\(\( ", words), (path, line)
            if re.search(r"mlflow (ui|server) -", words):
                found += 1
                assert " --host 127.0.0.1 " in words, (path, line)
    assert found >= 3
    assert " --host 127.0.0.1 " in run_url(tmp_path, Store("sqlite:///mlflow.db", "x", 2))
