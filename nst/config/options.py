"""The groups of `conf/` of which an option is an object that says how to paint."""

from nst.core.color import Color
from nst.core.init_images import InitImage
from nst.core.losses import ContentLoss, StyleLoss
from nst.core.optimizers import OptimizerConfig, adam, lbfgs  # noqa: F401 - which make themselves known
from nst.core.options import Option
from nst.core.scales import Scales

# Apart from the schema, because these import torch, and Hydra composes without them.
OPTION_GROUPS: dict[str, type[Option]] = {
    "optimizer": OptimizerConfig,
    "init_image": InitImage,
    "content_loss": ContentLoss,
    "style_loss": StyleLoss,
    "scales": Scales,
    "color": Color,
}
