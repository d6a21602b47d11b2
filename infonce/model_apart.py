"""A stranger's model is unpacked, looked at and loaded where it can do no harm: bounded, and ended with its parent.

`python -m infonce.model_apart PARENT TAR FOLDER` is that process; it says what it found as one JSON object.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from infonce.apart import confine
from infonce.errors import InvalidModel
from infonce.foreign_model import check_model
from infonce.model_tar import unpack_model

_MEMORY_BYTES: Final = 2 << 30  # torch and transformers themselves take a third of it
_OF_WEIGHTS: Final = 4  # half precision is held twice, once as float32, while it is loaded
_TEXT: Final = "a text that is embedded to see whether numbers come of it"


def _main(parent: str, tar: str, *, folder: str) -> None:
    confine(int(parent), memory_bytes=_MEMORY_BYTES + _OF_WEIGHTS * Path(tar).stat().st_size)
    try:
        unpack_model(Path(tar), Path(folder))
        check_model(Path(folder))
        said: dict[str, Any] = {"model": _loaded(Path(folder))}
    except InvalidModel as error:
        said = {"error": type(error).__name__, "message": str(error)}
    except OSError as error:
        said = {"errno": error.errno}
    print(json.dumps(said))


def _loaded(folder: Path) -> dict[str, Any]:
    """What the model is, after it has embedded a text.

    Raises:
        InvalidModel: it cannot be loaded, weights are missing, or what comes of them is no number.
    """
    from infonce.encoder import Encoder  # deferred: what is refused before is refused in a tenth of the time

    encoder = Encoder.load(folder)
    [vector] = encoder.encode([_TEXT])
    if not np.isfinite(vector).all() or not vector.any():
        raise InvalidModel("the model makes no numbers of a text; its weights are damaged")
    return {
        "dimensions": encoder.dimensions,
        "max_tokens": encoder.max_seq_length,
        "fingerprint": encoder.fingerprint(),
    }


if __name__ == "__main__":
    _main(*sys.argv[1:3], folder=sys.argv[3])
