"""Every bound, in one place. Beyond a bound there is a clear refusal before acceptance."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# Requests to the API.
EVENT_BODY_BYTES_MAX: Final = 1 * MIB  #: one publish request, and the data of one event
BATCH_BODY_BYTES_MAX: Final = 5 * MIB
BATCH_EVENTS_MAX: Final = 1_000
REQUEST_DELIVERIES_MAX: Final = 100_000  #: that the events of one request may owe together
MANAGEMENT_BODY_BYTES_MAX: Final = 256 * KIB
REQUEST_HEADER_BYTES_MAX: Final = 32 * KIB  #: request line and all headers
REQUEST_HEADERS_MAX: Final = 100
REQUEST_HEADERS_SECONDS_MAX: Final = 10.0  #: from the first byte to the end of the headers
REQUEST_BODY_SECONDS_MAX: Final = 30.0  #: from the end of the headers to the end of the body
REQUEST_CHUNK_OVERHEAD_BYTES_MAX: Final = 64 * KIB  #: framing and trailers of a chunked body, beyond its own size
REQUEST_DISCARDED_BYTES_MAX: Final = 16 * MIB  #: read and thrown away behind a refusal, then the connection ends
REQUESTS_PIPELINED_MAX: Final = 16  #: unanswered requests on one connection
KEEP_ALIVE_SECONDS_MAX: Final = 75.0  #: an idle connection lives this long
CONNECTIONS_MAX: Final = 10_000
BODIES_BYTES_MAX: Final = 64 * MIB  #: large request bodies held at one time, all connections together
JSON_DEPTH_MAX: Final = 64
IDEMPOTENCY_KEY_CHARS_MAX: Final = 255
PAGE_ITEMS_MAX: Final = 500
PAGE_ITEMS_DEFAULT: Final = 50

# What users name.
EVENT_ID_CHARS_MAX: Final = 128
EVENT_TYPE_CHARS_MAX: Final = 128
ORDERING_KEY_CHARS_MAX: Final = 128
TENANT_CHARS_MAX: Final = 128
NAME_CHARS_MAX: Final = 256
URL_CHARS_MAX: Final = 2_048
PATTERNS_MAX: Final = 100  #: per endpoint
ENDPOINT_HEADERS_MAX: Final = 32
ENDPOINT_HEADER_BYTES_MAX: Final = 4 * KIB  #: one name and value
ENDPOINTS_PER_TENANT_MAX: Final = 10_000  #: and so the most deliveries that one event can owe
SECRETS_VALID_MAX: Final = 4  #: signatures on one request while secrets rotate

# The outbound exchange.
CONNECT_TIMEOUT_MS_MAX: Final = 5_000
EXCHANGE_TIMEOUT_MS_MAX: Final = 60_000
EXCHANGE_TIMEOUT_MS_MIN: Final = 100
RESPONSE_READ_BYTES_MAX: Final = 64 * KIB
RESPONSE_KEPT_BYTES_MAX: Final = 4 * KIB
RESPONSE_KEPT_IN_BATCH_BYTES_MAX: Final = 512  #: of the answer to a batch, with each of its attempts
BATCH_ERROR_CHARS_MAX: Final = 200  #: of what an endpoint says about one event of a batch
RESPONSE_HEADER_BYTES_MAX: Final = 16 * KIB
EXCHANGE_ERROR_CHARS_MAX: Final = 300  #: the one line that says why an attempt failed
IDLE_CONNECTIONS_MAX: Final = 1_024  #: kept alive without an exchange, in all
IDLE_CONNECTION_SECONDS_MAX: Final = 55.0  #: below the 60 s after which common load balancers hang up
CONNECTION_SECONDS_MAX: Final = 300.0  #: an older connection is not used again, so that a change in the DNS is followed
ADDRESSES_DIALLED_MAX: Final = 8  #: of one name, in one attempt
RESOLVED_SECONDS_MAX: Final = 5.0  #: an answer of the name server is believed for so long
RESOLVED_NAMES_MAX: Final = 1_024  #: answers kept
RESOLVES_AT_ONCE: Final = 16  #: look-ups that run side by side, one thread each
RESOLVES_WAITING_MAX: Final = 1_024  #: names being looked up or waiting for a thread
RETRY_AFTER_SECONDS_MAX: Final = 24 * 3_600
RETRIES_MAX: Final = 100  #: of a custom schedule
RETRY_LENGTH_MS_MAX: Final = 30 * 86_400_000  #: all delays of a custom schedule together
RETRY_SPAN_MS_MAX: Final = 90 * 86_400_000  #: a round that began longer ago is not retried again
BATCH_EVENTS_OUT_MIN: Final = 2
BATCH_EVENTS_OUT_MAX: Final = 250  #: events in one outbound request
BATCH_OUT_BYTES_MAX: Final = 4 * MIB  #: data of the events in one outbound request, unless it is a single one
BATCH_WAIT_MS_DEFAULT: Final = 1_000
BATCH_WAIT_MS_MAX: Final = 60_000
FIFO_BLOCK_SECONDS_DEFAULT: Final = 3_600  #: how long a failing event blocks its ordering key
FIFO_BLOCK_SECONDS_MAX: Final = RETRY_SPAN_MS_MAX // 1_000
SUCCESS_CHARS_MAX: Final = 256  #: of the list of statuses that count as success
DISABLE_AFTER_DAYS_DEFAULT: Final = 30  #: longer than any preset of retries goes on
DISABLE_AFTER_DAYS_MAX: Final = 365
RATE_COUNT_MAX: Final = 1_000_000  #: requests for each second, minute, hour or day in a rate that somebody sets
THROTTLE_SECONDS_MAX: Final = 900  #: a Retry-After holds back all that its endpoint is owed for at most this long
FAULTS_MAX: Final = 3  #: faults of the program in a row, after which a delivery is parked
SIGNATURES_READ_MAX: Final = 16  #: signatures looked at in one webhook-signature header

# Filters and transformations.
EXPRESSION_CHARS_MAX: Final = 1_024
EXPRESSION_DEPTH_MAX: Final = 24  #: brackets, arguments and outcomes in each other
EXPRESSION_LEVELS_MAX: Final = 120  #: operators and fields in a row count as levels too
EXPRESSION_NODES_MAX: Final = 1_024  #: names, constants, operators and calls, of all expressions of a transformation
EXPRESSION_STEPS_MAX: Final = 100_000  #: that one evaluation could take, about 0.1 µs each
EXPRESSIONS_KEPT_MAX: Final = 1_024  #: compiled ones in memory
PATTERN_CHARS_MAX: Final = 256  #: of a regular expression
TRANSFORM_CHARS_MAX: Final = 8_192
TRANSFORM_DEPTH_MAX: Final = 8
TRANSFORM_EXPRESSIONS_MAX: Final = 64
FILTERS_PER_REQUEST_MAX: Final = 1_000  #: evaluated when events are accepted; the others when they are sent
FILTER_STEPS_PER_REQUEST_MAX: Final = 4 * EXPRESSION_STEPS_MAX  #: that filters take when events are accepted
FILTER_TEST_EVENTS_MAX: Final = 1_000
FILTER_TEST_SCANNED_MAX: Final = 10_000  #: events that are looked at to find so many
FILTER_TEST_PREVIEW_CHARS_MAX: Final = 1_024  #: of a transformed event

# Rules of tenants.
TENANT_WEIGHT_MAX: Final = 1_000

# The node's memory.
IN_FLIGHT_PER_ENDPOINT: Final = 8
IN_FLIGHT_PER_NODE: Final = 512
PROCESSES_MAX: Final = 64  #: of one ``posthouse serve``
IN_FLIGHT_MAX: Final = 16_384  #: that a setting or a tenant's rule may name
WINDOW_ITEMS_MAX: Final = 256  #: deliveries buffered per (endpoint, lane)
WINDOW_BYTES_MAX: Final = 4 * MIB  #: event data buffered per (endpoint, lane)
WINDOWS_BYTES_MAX: Final = 64 * MIB  #: event data buffered in all windows of a node
INTAKE_WAITING_MAX: Final = 10_000  #: events waiting for their commit; more get 429
UNSETTLED_MAX: Final = 8_192  #: outcomes waiting for their commit; above it nothing more is sent

# The outbox.
OUTBOX_ROWS_MAX: Final = 500  #: taken in one transaction
OUTBOX_BYTES_MAX: Final = 8 * MIB  #: of their data, unless a single row has more
OUTBOX_COUNTED_MAX: Final = 100_000  #: rows that a status counts
OUTBOX_PAUSE_MS_MIN: Final = 100  #: between two looks while something comes
OUTBOX_PAUSE_MS_MAX: Final = 1_000  #: between two looks while nothing comes, and after a failure

# The feed.
FEED_EVENTS_MAX: Final = 1_000  #: of one page
FEED_EVENTS_DEFAULT: Final = 100
FEED_WAIT_SECONDS_MAX: Final = 30  #: that a reader may wait for the next event
FEED_READERS_MAX: Final = 200  #: that wait or follow at one node; more get 503
FEED_CONSUMERS_MAX: Final = 1_000  #: in one environment
FEED_CONSUMER_CHARS_MAX: Final = 128
FEED_LOOK_SECONDS: Final = 0.1  #: between two looks at the feed's end, while somebody waits
FEED_HEARTBEAT_SECONDS: Final = 15.0  #: without an event, after which a follower hears that the node is there

# What comes in.
SOURCES_MAX: Final = 10_000  #: in one environment
SOURCE_BODY_BYTES_DEFAULT: Final = 1 * MIB
SOURCE_BODY_BYTES_MAX: Final = 5 * MIB  #: that a source's rule may name
SOURCE_SECRETS_CHARS_MAX: Final = 8 * KIB  #: one secret; some are public keys
KEY_HOSTS_MAX: Final = 10  #: that one source adds
HEARTBEAT_SECONDS_MAX: Final = 7 * 86_400
INBOX_WAITING_MAX: Final = 10_000  #: requests waiting for their commit; more get the sender's code for overload
INBOX_WINDOW_ITEMS_MAX: Final = 256  #: requests of one source in memory behind their answer
INBOX_WINDOW_BYTES_MAX: Final = 8 * MIB
INBOX_STEP_REQUESTS_MAX: Final = 64  #: read and passed on in one transaction
INBOX_STEP_EVENTS_MAX: Final = 1_000  #: in one transaction, unless a single request holds more
#: No item of the inbox is postponed for longer: one that is due later was written before the clock was set back.
INBOX_POSTPONED_MS_MAX: Final = 60_000
FETCHES_AT_ONCE: Final = 16  #: keys on their way
FETCH_ATTEMPTS_MAX: Final = 5  #: for the key of one request; then it is put in quarantine
FETCH_TIMEOUT_MS: Final = 5_000
FETCH_BYTES_MAX: Final = RESPONSE_READ_BYTES_MAX  #: of a fetched key
QUARANTINE_MS: Final = 7 * 86_400_000  #: that a refused request is kept
QUARANTINE_BYTES_MAX: Final = 1024 * MIB  #: of the refused requests of one source; more are refused and not kept
QUARANTINE_STEP_MAX: Final = 1_000  #: entries that one call looks at
GAPS_OPEN_MAX: Final = 1_000  #: of one source; further ones are not recorded

# Bulk jobs.
JOBS_UNFINISHED_MAX: Final = 100  #: that run or are paused, in one store
JOB_TRAIL_MAX: Final = 1_000  #: entries of one job's audit trail; after them it can only be cancelled
JOB_REASONS_MAX: Final = 20  #: named by one filter
JOB_REASON_CHARS_MAX: Final = 64
JOB_STEP_DELIVERIES_MAX: Final = 500  #: changed in one transaction
JOB_COUNT_DELIVERIES_MAX: Final = 10_000  #: counted between two writes of how many

# Time.
COMMIT_INTERVAL_MS: Final = 4  #: a commit gathers for at most this long
CATALOGUE_LOOK_MS: Final = 500  #: between two questions whether another node changed the catalogue
LEASE_MS: Final = 10_000
LEASE_RENEW_MS: Final = 2_000
FRESH_SECONDS_DEFAULT: Final = 300  #: an event older than this starts in the backlog lane
FRESH_SECONDS_MAX: Final = 30 * 86_400
RETENTION_DAYS_MAX: Final = 36_500
STUCK_MS: Final = 10_000  #: what has been due for longer, and nothing holds it, is stuck
SECRET_OVERLAP_MS_DEFAULT: Final = 24 * 3_600_000
SECRET_OVERLAP_MS_MAX: Final = 7 * 24 * 3_600_000
SIGNATURE_TOLERANCE_SECONDS: Final = 300

assert EVENT_BODY_BYTES_MAX <= BATCH_BODY_BYTES_MAX
assert EVENT_BODY_BYTES_MAX <= BATCH_OUT_BYTES_MAX
assert RESPONSE_KEPT_IN_BATCH_BYTES_MAX <= RESPONSE_KEPT_BYTES_MAX
assert RESPONSE_KEPT_BYTES_MAX <= RESPONSE_READ_BYTES_MAX
assert CONNECT_TIMEOUT_MS_MAX <= EXCHANGE_TIMEOUT_MS_MAX
assert RETRY_LENGTH_MS_MAX < RETRY_SPAN_MS_MAX
assert SECRETS_VALID_MAX <= SIGNATURES_READ_MAX
assert IN_FLIGHT_PER_ENDPOINT <= WINDOW_ITEMS_MAX
assert ENDPOINTS_PER_TENANT_MAX <= REQUEST_DELIVERIES_MAX
assert WINDOW_BYTES_MAX <= WINDOWS_BYTES_MAX
assert 2 * LEASE_RENEW_MS < LEASE_MS
assert SOURCE_BODY_BYTES_DEFAULT <= SOURCE_BODY_BYTES_MAX <= REQUEST_DISCARDED_BYTES_MAX
