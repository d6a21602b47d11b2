"""Whether hard negatives can be found: enough documents for the ranks, none of them too long for a pair."""

from infonce.errors import ConfigError
from infonce.file_limits import DEFAULT_LIMITS
from infonce.mining_config import MiningConfig
from service.references import find_file
from service.store.database import Tx
from service.store.records import FilePurpose, FileRecord

_MAX_CHARACTERS = DEFAULT_LIMITS.max_text_characters


def check_searched(
    tx: Tx, pairs: FileRecord, *, config: MiningConfig, corpus_file: str | None, place: str = ""
) -> None:
    """The documents that mining for these pairs searches fit its settings, which stand at that place of the body.

    Raises:
        ServiceError: the file of documents does not exist, or has another purpose.
        ConfigError: a document is too long to stand in a pair, or no document stands in the window of ranks.
    """
    if corpus_file is not None:
        param = f"{place}corpus_file"
        corpus = find_file(tx, pairs.project, id=corpus_file, purpose=FilePurpose.CORPUS, param=param)
        _check_lengths(corpus)
        _check_window(config, corpus.counts["documents"], what=f"{corpus.id} has {{}} documents")
    elif (negatives := pairs.counts.get("negatives")) is not None:
        searched = f"the positives and negatives of {pairs.id} are {{}} texts"
        _check_window(config, pairs.counts["pairs"] + negatives, what=searched)


def _check_lengths(corpus: FileRecord) -> None:
    longest = corpus.counts["longest_characters"]
    if longest > _MAX_CHARACTERS:
        message = f"{corpus.id} has a document of {longest} characters and one in a pair may have {_MAX_CHARACTERS}"
        raise ConfigError(f"{message}; split the long documents and upload the file again", param="corpus_file")


def _check_window(config: MiningConfig, num_texts: int, *, what: str) -> None:
    first, last = config.range
    if num_texts <= first:
        message = f"range is [{first}, {last}] and {what.format(num_texts)}, so that none stands behind rank {first}"
        raise ConfigError(f"{message}; lower the beginning of range or bring more documents", param="range")
