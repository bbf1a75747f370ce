"""A process of jobs that does what the job's series says: finishes, fails, dies, hangs, eats memory, or prints."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time


def main() -> None:
    print(json.dumps({"ready": "fake"}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        what = order["options"]["series"][0]
        print(json.dumps({"id": order["id"], "progress": 0.5, "stage": "Working"}), flush=True)
        if what == "unpack and die":
            tempfile.mkstemp()
        if what.endswith("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "exit":
            sys.exit(3)
        if what == "hang":
            time.sleep(600)
        if what == "eat":
            eaten = bytearray(os.urandom(1) * (400 << 20))
            time.sleep(600 + len(eaten))
        if what == "print":
            print("no JSON at all", flush=True)
        if what == "fail":
            print(json.dumps({"id": order["id"], "failed": "It is no scan.", "refused": True}), flush=True)
            continue
        print(json.dumps({"id": order["id"], "done": {"notes": [str(os.getpid()), *os.environ]}}), flush=True)


if __name__ == "__main__":
    main()
