"""Run a command and print as JSON its seconds and the peak memory in MB of its largest process, children included.

A process of its own: a child begins with the peak of the process that started it, so that one must be small.
"""

import json
import resource
import subprocess
import sys
import time

if __name__ == "__main__":
    began = time.perf_counter()
    done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Linux tells kilobytes, macOS bytes.
    print(json.dumps((seconds, peak / (1024 if sys.platform == "linux" else 1024 * 1024))))
    sys.exit(done.returncode)
