"""The child program: the embedded model behind its own HTTP server, alive only as long as its parent.

One rule: it is gone when its parent is, however the parent went. Linux sends it a signal; everywhere the pipe on its
standard input ends, and that ends it too.

    stdin   one line of JSON (below), then nothing until the end of the file, which means: stop
    stdout  one line of JSON, {"address": "http://127.0.0.1:PORT"}, when the model is ready
    stderr  whatever the model's library has to say

It imports nothing of ours and is run as a file, so that it starts fast. The key comes over the pipe, because arguments
can be read by every user of the machine.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, TextIO

PR_SET_PDEATHSIG = 1
"""prctl(2)."""


def main() -> None:
    """Load the model, say where it listens, and wait for the end of standard input."""
    # The library writes to standard output when it likes: our line gets a descriptor of its own.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    settings = json.loads(sys.stdin.readline())
    die_with_parent(settings["parent"])
    limit_memory(settings["memory_mib_max"])
    try:
        server = serve(settings)
    except RuntimeError:
        # The library has said what is wrong in lines of its own, and they are better than a traceback.
        sys.exit(1)
    print(json.dumps({"address": server.listening_address}), file=answer, flush=True)
    wait_for_end(sys.stdin)
    # Not sys.exit: the server's threads are inside the model and would be waited for.
    os._exit(0)


def die_with_parent(parent: int) -> None:
    """Ask Linux for SIGKILL at our parent's death; it may have died before we asked."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def limit_memory(mib_max: int) -> None:
    """What a request makes the library allocate must break this process and not the machine. 0 is no limit."""
    if mib_max > 0:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = mib_max << 20
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def serve(settings: dict[str, Any]) -> Any:
    """Start the library's server with nothing left to its defaults that a request could feel."""
    import xllamacpp  # noqa: PLC0415 - the limits above must hold before it loads

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.api_keys = [settings["key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.verbosity = 1
    params.n_gpu_layers = 0
    params.fit_params = False
    # A first run with nothing in it: it triples the time until we are ready, and buys the first call nothing.
    params.warmup = False
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["slot_tokens"]
    params.cpuparams.n_threads = settings["threads"]
    params.cpuparams_batch.n_threads = settings["batch_threads"]
    # A prompt is read in pieces of this many tokens, and between two pieces others get their turn and a caller who
    # has hung up is noticed: at the library's 2048 that takes ten seconds.
    params.n_batch = params.n_ubatch = settings["batch_tokens"]
    params.cache_ram_mib = settings["cache_mib"]
    # The prefix cache may be shared only as far as prompts begin alike; moving cached pieces would break the salt.
    params.n_cache_reuse = 0
    params.ctx_shift = False
    params.n_threads_http = settings["http_threads"]
    params.sse_ping_interval = -1
    return xllamacpp.Server(params)


def wait_for_end(pipe: TextIO) -> None:
    """Return when nobody holds the other end any more."""
    while pipe.read(4096):
        pass


if __name__ == "__main__":
    main()
