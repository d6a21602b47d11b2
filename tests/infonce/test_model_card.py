"""The card is what the hub reads, tells what was measured, and quotes no text of the data."""

import re

import pytest
import yaml
from huggingface_hub import ModelCard

from infonce.model_card import model_card
from tests.infonce.reported import toy_report


def test_the_hub_reads_the_front_matter() -> None:
    card = ModelCard(model_card(toy_report()))
    found = card.data.to_dict()
    assert (found["library_name"], found["pipeline_tag"]) == ("sentence-transformers", "sentence-similarity")
    assert found["base_model"] == "acme/tiny" and "infonce" in found["tags"]


@pytest.mark.parametrize("model", ["ft:tiny:faq:abcd1234", "a folder", 'x"\n---\n# owned', "`|<script>"])
def test_what_is_no_name_of_the_hub_is_not_claimed_to_be_one(model: str) -> None:
    text = model_card(toy_report() | {"model": model})
    matter = text.split("---\n")[1]
    assert "base_model" not in yaml.safe_load(matter)
    assert len(re.findall(r"^# ", text.split("```")[0], flags=re.MULTILINE)) == 1
    assert len(re.findall(r"(?<!`)`(?!`)", text)) % 2 == 0 and "\n| base model | `" in text


def test_numbers_checksums_and_prompts_are_in_it_and_texts_of_users_are_not() -> None:
    text = model_card(toy_report(text="a secret question"))
    assert "| nDCG@10 | 0.377 | 0.519 | +0.142 |" in text and "+0.120 to +0.165" in text
    assert f"`{'ef' * 32}`" in text and '`"ask: "`' in text
    assert "secret" not in text and "fewer than ten documents" in text


def test_a_model_that_was_not_judged_says_so() -> None:
    text = model_card(toy_report() | {"summary": {"metric": "ndcg@10", "evaluations": [], "verdict": None}})
    assert "It was not measured" in text and "**Not judged" in text
