"""A browser may ask so often and no oftener."""

import pytest

from fer_jax.serve.limits import Bucket, Refusal


def test_a_burst_then_so_many_a_second():
    now = [0.0]
    bucket = Bucket(per_second=2, burst=3, clock=lambda: now[0])
    for _ in range(3):
        bucket.take()
    with pytest.raises(Refusal) as refused:
        bucket.take()
    assert (refused.value.status, refused.value.retry_after) == (429, 1)
    now[0] = 0.4
    with pytest.raises(Refusal):
        bucket.take()
    now[0] = 0.5
    bucket.take()
    now[0] = 100.0  # what was not asked is not saved up
    for _ in range(3):
        bucket.take()
    with pytest.raises(Refusal):
        bucket.take()
