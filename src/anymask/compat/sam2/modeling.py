"""What `build_sam2` returns and predictors take."""

from anymask.compat.names import official_names, speak
from anymask.compat.wrapped import Wrapped
from anymask.model import Model


class SAM2Base(Wrapped):
    """A model whose state dicts are named as the official ones.

    Parameters
    ----------
    model
        From `anymask.load`; it is used, not copied.

    Attributes
    ----------
    image_size
        Side of the square that images become, px.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.network = model.network
        self.image_size = model.variant.spec.side
        names = official_names(model)
        speak(self, {f"network.{ours}": theirs for ours, theirs in names.items()})
        self.train(model.training)
