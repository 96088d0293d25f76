#!/bin/sh
# Publish with curl. POSTHOUSE_URL and POSTHOUSE_API_KEY say where the node is and who asks.
set -eu

# The key makes a repeat recognisable: curl may send this as often as it needs to.
curl --silent --show-error --fail-with-body --retry 5 \
    --header "Authorization: Bearer $POSTHOUSE_API_KEY" \
    --header "Content-Type: application/json" \
    --header "Idempotency-Key: order-1043-paid" \
    --data '{"type": "order.paid", "data": {"order": 1043, "total": "12.00"}}' \
    "$POSTHOUSE_URL/v1/events"
echo
