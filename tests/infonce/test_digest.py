import json

import pytest

from infonce.digest import signed, unsigned


def test_a_signed_object_stays_json_and_any_other_byte_is_refused() -> None:
    body = json.dumps({"format": 2, "loss": 0.1}).encode()
    content = signed(body)
    assert unsigned(content) == body and json.loads(content)["loss"] == 0.1
    for place in range(len(content)):
        with pytest.raises(ValueError):
            unsigned(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError):
            unsigned(content[:place])
