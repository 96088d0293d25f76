"""``python -m posthouse`` is the command line."""

import sys

from posthouse.cli.main import main

sys.exit(main())
