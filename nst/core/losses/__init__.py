"""What a canvas loses against its images. Importing it makes the losses known as options."""

from nst.core.losses.feature_loss import ContentLoss, FeatureLoss, StyleLoss
from nst.core.losses.gram import Gram
from nst.core.losses.moments import Moments
from nst.core.losses.mse import MSE
from nst.core.losses.nearest import Nearest
from nst.core.losses.self_similarity import SelfSimilarity
from nst.core.losses.sliced import Sliced
from nst.core.losses.term import Place, Rows, Term
from nst.core.losses.wasserstein import Wasserstein

__all__ = [
    "MSE",
    "ContentLoss",
    "FeatureLoss",
    "Gram",
    "Moments",
    "Nearest",
    "Place",
    "Rows",
    "SelfSimilarity",
    "Sliced",
    "StyleLoss",
    "Term",
    "Wasserstein",
]
