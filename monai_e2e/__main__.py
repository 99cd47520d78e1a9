"""``python -m monai_e2e`` is the command ``monai-e2e``."""

import sys

from monai_e2e.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
