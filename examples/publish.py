"""Publish from an application: one event, the same one again, and a batch.

POSTHOUSE_URL and POSTHOUSE_API_KEY say where the node is and who asks.
"""

import os

from posthouse.sdk.client import Client, NewEvent


def main() -> None:
    """Publish four events, one of them twice."""
    with Client(os.environ["POSTHOUSE_URL"], os.environ["POSTHOUSE_API_KEY"]) as client:
        # An id of your own makes a repeat recognisable: publish again whenever you are not sure.
        order = NewEvent(type="order.paid", id="order-1042-paid", data={"order": 1042, "total": "59.90"})
        first = client.publish(order)
        print(f"{first.id}: {first.deliveries} deliveries")
        again = client.publish(order)
        print(f"{again.id}: was there before: {again.duplicate}")

        # A batch is one transaction: all of it is stored, or nothing.
        shipped = [NewEvent(type="order.shipped", data={"order": number}) for number in (1040, 1041, 1042)]
        for published in client.publish_batch(shipped):
            print(f"{published.id}: {published.deliveries} deliveries")


if __name__ == "__main__":
    main()
