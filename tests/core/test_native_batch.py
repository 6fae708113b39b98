"""What an upstream's batch is: a few facts, and bounds that upstream takes."""

from faregate.core.native_batch import BYTES_MAX, REQUESTS_MAX, Native, NativeState


def test_a_new_one_is_filling_and_ours_and_has_no_name_upstream() -> None:
    native = Native(wallet_id="w", id="native_1", batch_id="b", upstream="u")

    assert (native.state, native.ours, native.upstream_id) == (NativeState.FILLING, True, None)


def test_it_is_within_what_the_upstream_takes() -> None:
    assert REQUESTS_MAX <= 100_000 and BYTES_MAX <= 256_000_000
