"""`python -m pipeline.node.pod`: see `pipeline.node.pod.main`."""

import signal
import sys

if __name__ == "__main__":
    # The kernel drops a signal that PID 1 has no handler for, and the imports take seconds on a busy
    # node: a pod that is deleted meanwhile would never learn of it. Held back until there is one.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    from pipeline.node.pod.main import main

    sys.exit(main())
