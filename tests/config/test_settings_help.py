"""The settings as --help shows them."""

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nst.config.paths import CONF
from nst.config.schema import register
from nst.config.settings_help import settings_help


def test_settings_have_their_comments_and_what_is_allowed() -> None:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        root = compose("config", ["optimizer=adam", "seed=7"], return_hydra_config=True)
    text = settings_help(_root_=root).replace("$$", "$")
    lines = [line.strip() for line in text.splitlines()]
    assert "seed: 7 # of the noise canvas" in lines
    assert "save_every: 10 # iterations between frames" in lines
    assert any(line.startswith("fit: keep # ") and line.endswith("of square, keep, crop") for line in lines)
    values = [line for line in lines if not line.endswith(":") and not line.startswith("- ") and line]
    layers = [line for line in values if line.startswith("conv")]
    assert [line for line in values if " # " not in line] == layers
    assert any(line.startswith("precision: fp32 # tf32, bf16, fp64") for line in lines)
    assert any(line.startswith("average: 0.0 # decay of the average") for line in lines)
    assert any(line.startswith("mode: reconstruct # visualize_content, ") for line in lines)
    assert "hydra" in root  # which was only read
    whole = OmegaConf.to_container(root)
    assert isinstance(whole, dict)
    del whole["hydra"]
    assert set(yaml.safe_load(text)) == set(whole)
