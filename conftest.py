"""Under pytest everything runs at the smoke budget, unless EVA_BUDGET says otherwise: seconds a notebook."""

import os

os.environ.setdefault("EVA_BUDGET", "smoke")
