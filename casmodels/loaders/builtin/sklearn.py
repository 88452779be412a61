"""scikit-learn by skops, which builds only what is known to be safe."""

from __future__ import annotations

from collections.abc import Sequence

from casmodels.errors import UnsafeModelError
from casmodels.extras import library
from casmodels.loaders.devices import CPU
from casmodels.loaders.loader import Loaded, Request
from casmodels.loaders.stored_model import StoredModel


class SklearnLoader:
    """The estimator. It is called as its ``predict``."""

    name = "sklearn"
    copies = 2

    def recognise(self, model: StoredModel) -> Sequence[str]:
        """One ``.skops`` file."""
        return model.only(model.ending(".skops"))

    def devices(self) -> Sequence[str]:
        """scikit-learn works on the CPU."""
        return (CPU,)

    def load(self, model: StoredModel, request: Request, *, trusted: Sequence[str] = ()) -> Loaded:
        """``trusted`` are types to be built although skops does not know them."""
        skops = library("skops.io", "sklearn")
        data = model.read(request.files[0])
        unknown = sorted(set(skops.get_untrusted_types(data=data)) - set(trusted))
        if unknown:
            raise UnsafeModelError(
                f"{model.called(request.files[0])} is made of types that may do anything ({', '.join(unknown[:3])})",
                remedy=f"if you know them, say trusted={unknown!r}",
            )
        estimator = skops.loads(data, trusted=list(trusted))
        return Loaded(estimator, estimator.predict if hasattr(estimator, "predict") else None)
