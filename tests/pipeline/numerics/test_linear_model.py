"""linear models: the exact one against a plain SVD, the streamed one against the exact one."""

from __future__ import annotations

import numpy as np
import pytest

from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.numerics.linear_model import LinearModel, fit_pca, fit_streaming, vertex_weights

V, RANK = 120, 6


def shapes(n: int = 90, noise: float = 0.01, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((3 * V, RANK)))[0].T
    spread = np.array([40, 22, 15, 9, 5, 3])
    flat = rng.standard_normal((n, RANK)) * spread @ basis + noise * rng.standard_normal((n, 3 * V)) + 80
    return flat.reshape(n, V, 3)


def in_batches(data: np.ndarray, size: int = 17):
    return lambda: (data[i : i + size] for i in range(0, len(data), size))


def gram(model: LinearModel) -> np.ndarray:
    return np.einsum("v,avx,bvx->ab", model.weights, model.components, model.components)


def test_without_weights_it_is_the_plain_decomposition():
    data = shapes()
    model = fit_pca(data)
    flat = data.reshape(len(data), -1)
    singular = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(model.variances, singular[: model.rank] ** 2 / (len(data) - 1), rtol=1e-9)
    assert model.rank == len(data) - 1
    assert model.total_variance == pytest.approx(flat.var(axis=0, ddof=1).sum())
    np.testing.assert_allclose(model.mean, data.mean(axis=0), atol=1e-5)


def test_components_are_orthonormal_under_the_weights_and_zero_outside_the_mask():
    weights = np.linspace(0, 3, V)
    weights[:30] = 0
    model = fit_pca(shapes(), weights, rank=5)
    np.testing.assert_allclose(gram(model), np.eye(5), atol=1e-5)
    assert not model.components[:, :30].any()
    assert model.weights[30:].mean() == pytest.approx(1)


def test_masked_vertices_may_hold_anything():
    data, weights = shapes(), np.ones(V)
    weights[:10] = 0
    clean = fit_pca(data, weights, rank=4)
    data[3, 4] = np.nan
    other = fit_pca(data, weights, rank=4)
    np.testing.assert_array_equal(clean.components, other.components)
    np.testing.assert_allclose(other.encode(data), clean.encode(shapes()), atol=1e-4)


def test_a_weighted_shape_counts_as_that_many():
    data = shapes(20)
    weights = np.ones(20)
    weights[:5] = 3
    repeated = np.concatenate([data, data[:5], data[:5]])
    a, b = fit_pca(data, sample_weights=weights, rank=5), fit_pca(repeated, rank=5)
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-4)
    np.testing.assert_allclose(
        np.abs(np.einsum("avx,bvx->ab", a.components, b.components)), np.eye(5), atol=1e-4
    )


def test_encode_and_decode_undo_each_other():
    data = shapes(noise=0)
    model = fit_pca(data, np.linspace(0.5, 2, V), rank=RANK)
    np.testing.assert_allclose(model.decode(model.encode(data)), data, atol=2e-4)
    assert model.truncated(2).encode(data).shape == (len(data), 2)
    assert model.truncated(2).total_variance == model.total_variance


def test_samples_have_the_models_variances():
    model = fit_pca(shapes(), rank=3)
    spread = model.encode(model.sample(20_000, seed=1)).var(axis=0)
    np.testing.assert_allclose(spread, model.variances, rtol=0.04)
    np.testing.assert_array_equal(model.sample(3, 7), model.sample(3, 7))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_streamed_model_is_the_exact_one(weighted):
    data = shapes().astype(np.float32)
    weights, sample = (np.linspace(0, 2, V), np.linspace(0.2, 2, len(data))) if weighted else (None, None)
    exact = fit_pca(data, weights, sample, RANK)
    streamed = fit_streaming(in_batches(data), weights, sample, RANK)
    np.testing.assert_allclose(streamed.variances, exact.variances, rtol=1e-4)
    assert streamed.total_variance == pytest.approx(exact.total_variance, rel=1e-5)
    np.testing.assert_allclose(streamed.mean, exact.mean, atol=1e-4)
    overlap = np.einsum("v,avx,bvx->ab", exact.weights, exact.components, streamed.components)
    np.testing.assert_allclose(overlap, np.eye(RANK), atol=2e-4)
    assert streamed.count == len(data)


def test_streaming_finds_slowly_falling_variances_within_a_hundredth():
    rng = np.random.default_rng(3)
    data = (rng.standard_normal((150, 150)) * (1 / np.arange(1, 151))) @ rng.standard_normal((150, 3 * V))
    data = data.reshape(150, V, 3)
    exact, streamed = fit_pca(data, rank=12), fit_streaming(in_batches(data), rank=12)
    np.testing.assert_allclose(streamed.variances, exact.variances, rtol=1e-2)
    rough = fit_streaming(in_batches(data), rank=12, power_passes=1, oversampling=0)
    assert np.abs(rough.variances / exact.variances - 1).max() > 1e-2  # the passes are what makes it good


def test_a_first_shape_far_from_the_mean_does_no_harm():
    data = shapes(noise=0)
    data[0] += 4000.0 * np.random.default_rng(9).standard_normal((V, 3))
    weights = np.ones(len(data))
    weights[0] = 1e-9
    exact = fit_pca(data[1:], rank=RANK)
    # one pass and no more columns than components: a mean left in the sketch would take one of them
    streamed = fit_streaming(
        in_batches(data), sample_weights=weights, rank=RANK, oversampling=0, power_passes=1
    )
    overlap = np.einsum("avx,bvx->ab", exact.components, streamed.components)
    assert np.linalg.svd(overlap, compute_uv=False).min() > 0.99


class Interrupted(Exception):
    pass


def test_an_interrupted_stream_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr("mimicme.pipeline.numerics.linear_model._SAVE_EVERY", 2)
    data, place = shapes().astype(np.float32), tmp_path / "sketch.npz"
    whole = fit_streaming(in_batches(data), rank=RANK, seed=5)
    read: list[int] = []

    def run(stop: int | None) -> LinearModel:
        read.clear()

        def onward(skip: int):
            for number, batch in enumerate(in_batches(data)()):
                if number >= skip:
                    read.append(number)
                    if stop is not None and len(read) > stop:
                        raise Interrupted
                    yield batch

        return fit_streaming(
            lambda: onward(0), rank=RANK, seed=5, checkpoint=place, fingerprint="x", batches_from=onward
        )

    with pytest.raises(Interrupted):
        run(stop=11)
    assert place.exists()
    again = run(stop=None)
    assert len(read) < 3 * 6  # what was done is not done again
    assert again.components.tobytes() == whole.components.tobytes()
    assert again.variances.tobytes() == whole.variances.tobytes()
    assert not place.exists()


def test_a_checkpoint_of_other_data_or_cut_short_is_not_used(tmp_path):
    data, place = shapes().astype(np.float32), tmp_path / "sketch.npz"
    expected = fit_streaming(in_batches(data), rank=3)
    place.write_bytes(b"PK\x03\x04 cut short")
    got = fit_streaming(in_batches(data), rank=3, checkpoint=place)
    np.testing.assert_array_equal(got.components, expected.components)


def test_bad_data_is_refused():
    data = shapes()
    with pytest.raises(UsageError, match="at least two"):
        fit_pca(data[:1])
    with pytest.raises(UsageError, match="at least two"):
        fit_streaming(lambda: iter(()))
    with pytest.raises(UsageError, match="vertex weights do not fit"):
        fit_pca(data, np.ones(V - 1))
    with pytest.raises(UsageError, match="positive"):
        vertex_weights(np.zeros(V), V)
    with pytest.raises(UsageError, match="sample weights"):
        fit_streaming(in_batches(data), sample_weights=np.ones(len(data) + 1))
    data[4, 2] = np.inf
    for fit in (lambda: fit_pca(data), lambda: fit_streaming(in_batches(data))):
        with pytest.raises(UsageError, match="shape 4: .*not finite"):
            fit()
    model = fit_pca(shapes(), rank=2)
    with pytest.raises(UsageError, match="shape 4"):
        model.encode(data)
    with pytest.raises(UsageError, match="coefficients"):
        model.decode(np.zeros((1, 3)))


def test_data_that_changes_between_passes_is_refused():
    data = shapes()
    calls = []

    def batches():
        calls.append(1)
        return iter([data[: 80 if len(calls) > 2 else 90]])

    with pytest.raises(UsageError, match="changes from pass to pass"):
        fit_streaming(batches, rank=2)
