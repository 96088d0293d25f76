"""What every engine needs and none of them owns: rules and shapes, with no SQL and no driver in them."""
