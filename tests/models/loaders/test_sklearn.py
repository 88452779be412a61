"""scikit-learn through skops: a forest that predicts what the original predicts."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import numpy as np
import pytest

from casmodels.errors import NotLoadableError, UnsafeModelError
from casmodels.library import Store
from casmodels.loaders import load_model

skops = pytest.importorskip("skops.io")
ensemble = pytest.importorskip("sklearn.ensemble")
preprocessing = pytest.importorskip("sklearn.preprocessing")
pytestmark = pytest.mark.torch  # scikit-learn is large, and comes with what these tests need

Saver = Callable[..., str]
DATA = np.random.default_rng(5).normal(size=(200, 6))
FOREST = ensemble.RandomForestClassifier(n_estimators=10, random_state=1).fit(DATA, DATA[:, 0] > DATA[:, 1])
TREE = "sklearn.tree._tree.Tree"
"""Written in C, and so not among the types that skops vouches for."""


def plain(values: object) -> object:
    return values


@pytest.mark.parametrize("file", ["forest.skops", "forest.skops.gz"])
def test_a_forest(store: Store, saved: Saver, file: str) -> None:
    data = skops.dumps(FOREST)
    saved({file: gzip.compress(data) if file.endswith(".gz") else data})
    new = np.random.default_rng(6).normal(size=(31, 6))
    with load_model(store, "mine", trusted=[TREE]) as model:
        assert model.loader == "sklearn"
        assert np.array_equal(model(new), FOREST.predict(new))
        assert np.array_equal(model.process_batch(new, batch_size=7), FOREST.predict(new))
        assert np.array_equal(model.process_batch(new.tolist()), FOREST.predict(new))
        assert np.array_equal(model.model.predict_proba(new), FOREST.predict_proba(new))


def test_unknown_types_are_refused_until_they_are_trusted(store: Store, saved: Saver) -> None:
    saved({"t.skops": skops.dumps(preprocessing.FunctionTransformer(plain).fit(DATA))})
    with pytest.raises(UnsafeModelError, match=r"types that may do anything \(.*plain\)") as raised:
        load_model(store, "mine")
    assert raised.value.remedy is not None
    named = raised.value.remedy.partition("trusted=")[2].strip("[]'")
    with load_model(store, "mine", trusted=[named]) as model:
        assert np.array_equal(model.model.transform(DATA), DATA)


def test_what_is_no_skops_file_is_one_sentence(store: Store, saved: Saver) -> None:
    saved({"t.skops": b"nothing"})
    with pytest.raises(NotLoadableError, match=r"'sklearn' cannot load t\.skops"):
        load_model(store, "mine")
