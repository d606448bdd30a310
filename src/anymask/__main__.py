"""`python -m anymask` is `anymask`."""

import sys

from anymask.cli import main

sys.exit(main())
