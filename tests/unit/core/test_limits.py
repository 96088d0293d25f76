from posthouse.core import limits

NUMBERS = {name: value for name, value in vars(limits).items() if name.isupper()}


def test_every_limit_is_a_positive_number() -> None:
    assert NUMBERS
    assert all(isinstance(value, int | float) and value > 0 for value in NUMBERS.values())


def test_a_batch_can_hold_its_greatest_event() -> None:
    assert limits.EVENT_BODY_BYTES_MAX <= limits.BATCH_BODY_BYTES_MAX


def test_what_is_kept_was_read() -> None:
    assert limits.RESPONSE_KEPT_BYTES_MAX <= limits.RESPONSE_READ_BYTES_MAX


def test_connecting_is_part_of_the_exchange() -> None:
    assert limits.CONNECT_TIMEOUT_MS_MAX <= limits.EXCHANGE_TIMEOUT_MS_MAX


def test_a_lease_outlives_a_lost_renewal() -> None:
    assert 2 * limits.LEASE_RENEW_MS < limits.LEASE_MS


def test_a_receiver_reads_at_least_as_many_signatures_as_a_sender_makes() -> None:
    assert limits.SECRETS_VALID_MAX <= limits.SIGNATURES_READ_MAX


def test_the_longest_schedule_ends_within_the_span() -> None:
    """Jitter adds a tenth."""
    assert limits.RETRY_LENGTH_MS_MAX * 1.1 < limits.RETRY_SPAN_MS_MAX
