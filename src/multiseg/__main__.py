"""`python -m multiseg`."""

import sys

from multiseg.cli import main

sys.exit(main())
