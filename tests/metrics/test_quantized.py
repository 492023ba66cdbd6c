"""Vectors in bytes and bits: values worked by hand, and loops."""

import pytest
import torch

from likewise.metrics.quantized import Range, in_bytes, in_signs, rescored


@pytest.fixture
def known():
    return torch.randn(50, 6, generator=torch.Generator().manual_seed(0))


def test_a_byte_has_256_even_steps_and_ends_at_the_range():
    known = Range.of(torch.tensor([[0.0, -1.0, 3.0], [255.0, 1.0, 3.0]]))
    back = in_bytes(torch.tensor([[7.4, 0.201, 3.0], [-9.0, 5.0, 8.0]]), known)
    assert back[0].tolist() == pytest.approx([7.0, 0.2, 3.0], abs=1e-6)  # steps 7 and 153
    assert back[1].tolist() == pytest.approx([0.0, 1.0, 3.0], abs=1e-6)


def test_a_byte_is_off_by_half_a_step_at_most(known):
    span = Range.of(known)
    assert ((in_bytes(known, span) - known).abs() <= (span.high - span.low) / 510 + 1e-6).all()


def test_bits_give_the_hamming_distance(known):
    sign = in_signs(known, Range.of(known))
    for i in range(5):
        for j in range(5):
            differ = sum(bool(a > m) != bool(b > m) for a, b, m in zip(known[i], known[j], known.mean(0), strict=True))
            assert (sign[i] @ sign[j]).item() == 6 - 2 * differ


def test_rescoring_equals_the_loop(known):
    span, query = Range.of(known), torch.randn(7, 6, generator=torch.Generator().manual_seed(1))
    sign, asked = in_signs(known, span), in_signs(query, span)
    near = rescored(query, sign, span, 3, among=10)
    for q in range(7):
        order = sorted(range(50), key=lambda m: (-(asked[q] @ sign[m]).item(), m))[:10]
        scored = [((query[q] - span.mean) @ sign[m]).item() for m in order]
        best = sorted(range(10), key=lambda i: -scored[i])[:3]
        assert near.sim[q].tolist() == pytest.approx([scored[i] for i in best], abs=1e-5)


def test_rescoring_does_not_find_the_query_itself(known):
    near = rescored(known, in_signs(known, Range.of(known)), Range.of(known), 2, among=49, offset=0)
    assert not (near.place == torch.arange(50)[:, None]).any()


def test_a_range_needs_vectors():
    with pytest.raises(ValueError, match="there are none"):
        Range.of(torch.zeros(0, 3))
