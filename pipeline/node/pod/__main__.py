"""`python -m pipeline.node.pod`: see `pipeline.node.pod.main`."""

import sys

from pipeline.node.pod.main import main

if __name__ == "__main__":
    sys.exit(main())
