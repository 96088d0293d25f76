"""A whole node on a database: what is tested of one on an embedded store holds here too. The names are imported."""

# ruff: noqa: F401 - pytest finds them here
from tests.integration.engine.test_bulk_jobs import test_a_replay_reaches_the_receivers_once_more
from tests.integration.engine.test_delivery import (
    test_a_failed_attempt_is_made_again_when_it_is_due_and_never_before,
    test_a_paused_endpoint_gets_nothing_and_loses_nothing,
    test_a_published_event_arrives_signed_at_every_endpoint_that_subscribed,
    test_what_was_open_at_a_stop_is_delivered_after_the_restart,
    test_when_all_attempts_are_spent_the_delivery_is_exhausted_and_a_retry_reopens_it,
)
from tests.integration.engine.test_order import (
    test_no_inversion_over_failures_pauses_and_restarts,
    test_only_the_newest_state_of_a_key_is_sent_at_last,
    test_order_is_changed_while_work_waits,
)
from tests.integration.inbox.test_receiving import (
    test_it_is_stored_as_it_came,
    test_what_a_sender_posts_reaches_the_endpoint_byte_for_byte,
)
