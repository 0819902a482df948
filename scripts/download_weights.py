"""Run `xmem-infer download` from a checkout: python scripts/download_weights.py [NAME ...] [--all] [--list]."""

import sys

from xmem_infer.cli.download import main

if __name__ == "__main__":
    sys.exit(main())
