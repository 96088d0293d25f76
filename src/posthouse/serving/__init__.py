"""HTTP as a node speaks it: connections within bounds, bodies, problems. What answers stands above."""
