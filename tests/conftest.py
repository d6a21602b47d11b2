"""Two processes share the tests and the cores: each computes in one thread, for two pools would wait in turn.

Files are handed out whole and in their order, so that the long stories begin first; `pytest -n 0` runs all in one.
"""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and faiss are loaded
