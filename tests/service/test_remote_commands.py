"""The commands that speak to a server, against a real one: what they print, their JSON, and a mistake's sentence."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.client import Client
from service.remote_view import ending_of
from service.schemas.collections import CollectionCreate
from service.schemas.job_answers import FineTuningJob
from service.store import jobs
from service.store.records import Phase
from tests.service.conftest import BASE, PAIR, Live, lines

Infonce = Callable[..., Result]


@pytest.fixture
def infonce(live: Live, monkeypatch: pytest.MonkeyPatch) -> Infonce:
    """Runs a command with the gateway's address and key in the environment."""
    monkeypatch.setenv("INFONCE_URL", live.url)
    monkeypatch.setenv("INFONCE_API_KEY", live.key)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines([PAIR | {"query": f"which pet barks {n}"} for n in range(20)]))
    return path


def submitted(infonce: Infonce, pairs: Path, *words: str) -> FineTuningJob:
    done = infonce("submit", pairs, "--model", BASE, "--json", *words)
    assert done.exit_code == 0, done.stderr
    return FineTuningJob.model_validate_json(done.stdout)


def test_options_become_the_body_of_a_training(infonce: Infonce, pairs: Path) -> None:
    words = ("--suffix", "faq", "--epochs", "2", "--set", "temperature=0.1", "--set", "precision=float32")
    job = submitted(infonce, pairs, *words, "--held-out", "0.2", "--metadata", "team=search", "--seed", "7")
    method = job.method["contrastive"]
    assert (job.hyperparameters["n_epochs"], job.seed, job.metadata) == (2, 7, {"team": "search"})
    assert (method["hyperparameters"]["temperature"], method["evaluation"]["held_out"]) == (0.1, 0.2)
    assert (job.status, method["deploy"]) == ("queued", None)


def test_files_that_belong_to_a_training_are_uploaded_too(infonce: Infonce, pairs: Path, live: Live) -> None:
    corpus = pairs.with_name("corpus.jsonl")
    corpus.write_bytes(lines([{"id": "a", "text": "one"}]))
    job = submitted(infonce, pairs, "--deploy", "pets", "--corpus", str(corpus))
    with Client(live.url, api_key=live.key) as client:
        [file] = client.files(purpose="corpus")
    assert job.method["contrastive"]["deploy"] == {"collection": "pets", "corpus_file": file.id, "policy": "if_better"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--set", "tempature=0.1"), "did you mean temperature?"),
        (("--set", "temperature"), "has no '='; write NAME=VALUE"),
        (("--set", "n_epochs=3", "--epochs", "2"), "n_epochs is given by --set and by an option of its own"),
        (("--corpus", "x.jsonl"), "name it by --deploy"),
        (("--mapping", "{"), "mapping"),
    ],
)
def test_a_slip_is_told_before_anything_is_uploaded(
    infonce: Infonce, pairs: Path, live: Live, words: tuple[str, ...], sentence: str
) -> None:
    done = infonce("submit", pairs, "--model", BASE, *words)
    assert done.exit_code == 1 and done.stdout == "" and sentence in done.stderr, done.stderr
    with Client(live.url, api_key=live.key) as client:
        assert list(client.files()) == []


def test_broken_lines_are_told_one_by_one(infonce: Infonce, tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"anchor": "a"}\nno json\n')
    done = infonce("submit", tmp_path / "broken.jsonl", "--model", BASE)
    told = done.stderr.splitlines()
    assert done.exit_code == 1 and len(told) == 2
    assert told[0].startswith("infonce: line 1: ") and told[1].startswith("infonce: line 2: ")


def test_a_job_is_listed_shown_paused_resumed_and_cancelled(infonce: Infonce, pairs: Path) -> None:
    id = submitted(infonce, pairs).id
    assert id in infonce("jobs").stdout and id in infonce("jobs", "--json", "--limit", "1").stdout
    assert infonce("jobs", id).stdout == f"{id} is queued, phase waiting\n"
    assert "is paused" in infonce("pause", id).stdout and "is queued" in infonce("resume", id).stdout
    assert json.loads(infonce("cancel", id, "--json").stdout)["status"] == "cancelled"
    refused = infonce("pause", id)
    assert refused.exit_code == 1 and refused.stderr.endswith("[job_terminal]\n")


def test_a_training_is_to_end_early_and_keep_its_best(infonce: Infonce, pairs: Path, live: Live) -> None:
    id = submitted(infonce, pairs).id
    with live.parts.database.write() as tx:
        attempt = jobs.claim(tx, "train", owner="me", now=live.parts.clock())
        assert attempt is not None
        jobs.heartbeat(tx, id, attempt=1, now=live.parts.clock(), update={"phase": Phase.TRAINING})
    told = f"{id} is running, phase training, and was asked to end and keep its best\n"
    assert infonce("cancel", id, "--keep-best").stdout == told
    assert json.loads(infonce("jobs", id, "--json").stdout)["keep_requested"] is True


def test_a_terminal_shows_that_a_server_is_asked(
    infonce: Infonce, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert infonce("models").stderr == ""
    id = submitted(infonce, pairs).id
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes rich take any stream for a terminal
    asking = [("models",), ("collections",), ("jobs",), ("jobs", id), ("pause", id), ("resume", id), ("cancel", id)]
    for words in asking:
        assert "Asking …" in infonce(*words).stderr, words
    assert "Searching …" in infonce("search", "pets", "dog").stderr
    assert "Ordering …" in infonce("submit", pairs, "--model", BASE).stderr


def test_a_job_is_watched_to_its_end(infonce: Infonce, pairs: Path, live: Live) -> None:
    id = submitted(infonce, pairs).id
    database, clock = live.parts.database, live.parts.clock

    def work() -> None:
        with database.write() as tx:
            attempt = jobs.claim(tx, "train", owner="me", now=clock())
            assert attempt is not None
            result = {"model": "ft:x", "trained_tokens": 5}
            jobs.succeed(tx, id, attempt=attempt.attempt, now=clock(), result=result)

    worker = threading.Thread(target=work)
    worker.start()
    done = infonce("watch", id)
    worker.join()
    assert (done.exit_code, done.stdout.partition(" (")[0]) == (0, "ft:x is trained")
    figures = httpx2.get(f"{live.url}/metrics", trust_env=False).text
    told = 'infonce_http_requests_total{method="GET",route="/v1/jobs/{id}/events/stream",status="200"}'
    assert f"{told} 1.0" in figures  # it was told what happened, and did not ask time and again


def test_watching_a_job_that_does_not_succeed_fails(infonce: Infonce, pairs: Path) -> None:
    id = submitted(infonce, pairs).id
    infonce("cancel", id)
    done = infonce("watch", id)
    assert (done.exit_code, done.stdout) == (1, f"{id} is cancelled, phase waiting\n")


def test_models_collections_and_what_is_found_are_shown(infonce: Infonce, live: Live) -> None:
    with Client(live.url, api_key=live.key) as client:
        client.create_collection(CollectionCreate(name="pets", model=BASE))
        client.add_documents("pets", [{"id": "d", "text": "the [red] dog"}])
        client.create_collection(CollectionCreate(name="many", model=BASE))
        client.add_documents("many", [{"id": f"d{n}", "text": f"text {n}"} for n in range(300)])
    assert BASE in infonce("models").stdout and "pets" in infonce("collections").stdout
    assert BASE in [row["id"] for row in json.loads(infonce("models", "--json").stdout)["data"]]
    assert json.loads(infonce("collections", "--json").stdout)["data"][0]["count"] == 300
    assert "300 documents cannot be found yet." in infonce("search", "many", "barks").stdout
    assert "the [red] dog" in infonce("search", "pets", "dog").stdout
    assert [hit["id"] for hit in json.loads(infonce("search", "pets", "dog", "--json").stdout)["hits"]] == ["d"]


@pytest.fixture
def pets(live: Live) -> None:
    """Three documents of several ages; the words of the oldest are nobody else's."""
    texts = {"d": ("the dog barks", 3), "c": ("the cat purrs", 9), "b": ("the bird sings", 2)}
    with Client(live.url, api_key=live.key) as client:
        client.create_collection(CollectionCreate(name="pets", model=BASE))
        rows = [{"id": id, "text": text, "metadata": {"age": age}} for id, (text, age) in texts.items()]
        client.add_documents("pets", rows)


def found(infonce: Infonce, *words: str) -> dict[str, float]:
    done = infonce("search", "pets", *words, "--json")
    assert done.exit_code == 0, done.stderr
    return {hit["id"]: hit["score"] for hit in json.loads(done.stdout)["hits"]}


@pytest.mark.usefixtures("pets")
def test_a_search_is_filtered(infonce: Infonce) -> None:
    older = json.dumps({"type": "gt", "key": "age", "value": 2})
    assert set(found(infonce, "the dog", "--filter", older)) == {"d", "c"}
    odd = infonce("search", "pets", "the dog", "--filter", '{"type": "eq", "key": "colour", "value": "red"}')
    assert odd.exit_code == 0 and "colour" in odd.stderr


@pytest.mark.usefixtures("pets")
def test_a_search_looks_by_words_too_and_joins_as_it_is_told(infonce: Infonce) -> None:
    by_rank = found(infonce, "the purrs", "--hybrid", "rrf")
    assert max(by_rank.values()) == pytest.approx(2 / 61)
    vectors_alone = found(infonce, "the purrs", "--hybrid", "weighted", "--weight", "1")
    assert vectors_alone["c"] == pytest.approx(1.0)
    words_alone = found(infonce, "purrs", "--hybrid", "weighted", "--weight", "0")
    assert words_alone == pytest.approx({"c": 1.0, "d": 0.0, "b": 0.0})


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--filter", "{"), 1, "--filter is no JSON"),
        (("--filter", '{"type": "almost"}'), 1, "filter"),
        (("--filter", "7"), 1, "filter"),
        (("--weight", "0.5"), 1, "--weight"),
        (("--hybrid", "rrf", "--weight", "0.5"), 1, "rrf"),
        (("--hybrid", "weighted", "--weight", "2"), 1, "weight"),
        (("--hybrid", "both"), 2, "'both' is not one of"),
    ],
)
def test_a_search_that_cannot_be_is_refused_before_it_is_sent(
    infonce: Infonce, words: tuple[str, ...], code: int, sentence: str
) -> None:
    done = infonce("search", "pets", "dog", "--url", "http://127.0.0.1:9", *words)
    assert (done.exit_code, done.stdout) == (code, "") and sentence in done.stderr, done.stderr
    assert code == 2 or done.stderr.count("\n") == 1


def test_jobs_models_and_collections_are_shown_by_their_labels(infonce: Infonce, live: Live, pairs: Path) -> None:
    id = submitted(infonce, pairs, "--metadata", "team=search", "--metadata", "stage=a=b").id
    submitted(infonce, pairs, "--metadata", "team=ads")
    with Client(live.url, api_key=live.key) as client:
        client.create_collection(CollectionCreate(name="pets", dimension=2, metadata={"team": "search"}))

    def ids(command: str, *labels: str) -> list[str]:
        words = [word for label in labels for word in ("--metadata", label)]
        return [row["id"] for row in json.loads(infonce(command, "--json", *words).stdout)["data"]]

    assert ids("jobs", "team=search") == ids("jobs", "team=search", "stage=a=b") == [id] and len(ids("jobs")) == 2
    assert len(ids("collections", "team=search")) == 1 and ids("collections", "team=ads") == []
    assert BASE in ids("models") and ids("models", "team=search") == []
    done = infonce("models", "--metadata", "team")
    assert done.exit_code == 1 and "write NAME=VALUE" in done.stderr


def test_a_server_that_is_not_there_is_a_sentence_with_a_remedy(infonce: Infonce) -> None:
    done = infonce("models", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 1 and "infonce serve" in done.stderr and done.stderr.count("\n") == 1
    assert infonce("models", "--url", "no-address").exit_code == 1


def test_a_key_that_is_missing_is_told_by_the_name_of_its_variable(
    infonce: Infonce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INFONCE_API_KEY")
    done = infonce("models")
    assert done.exit_code == 1 and "set INFONCE_API_KEY" in done.stderr


@pytest.mark.parametrize("key", ["schlüssel", "inf_x\n", "two words", "\udcff"])
def test_what_no_header_can_carry_is_no_key(infonce: Infonce, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("INFONCE_API_KEY", key)
    done = infonce("models")
    assert done.exit_code == 1 and done.stdout == "" and done.stderr.startswith("infonce: INFONCE_API_KEY ")
    assert done.stderr.count("\n") == 1 and key not in done.stderr


@pytest.mark.parametrize("end", ["/", "/v1", "/v1/"])
def test_the_address_that_an_openai_client_takes_will_do(infonce: Infonce, live: Live, end: str) -> None:
    done = infonce("models", "--url", live.url + end, "--json")
    assert done.exit_code == 0 and BASE in [row["id"] for row in json.loads(done.stdout)["data"]]
    with Client(live.url + end, api_key=live.key) as client:
        assert client.model(BASE).id == BASE


def test_an_unheeded_wish_is_told(infonce: Infonce, pairs: Path) -> None:
    job = submitted(infonce, pairs)
    wished = job.model_copy(update={"status": "running", "phase": "training", "cancel_requested": True})
    assert ending_of(wished) == f"{job.id} is running, phase training, and was asked to cancel"
