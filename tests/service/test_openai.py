"""The official `openai` package, unmodified, against a live gateway."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from infonce.config import Side
from service.store import catalog
from service.store.records import ModelRecord
from tests.infonce.reported import toy_report
from tests.service.conftest import BASE, PAIR, Live, WordEncoder, lines
from tests.service.test_models import TUNED, published

PAIRS = lines([PAIR | {"query": f"which pet barks {n}"} for n in range(20)])


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=live.key, max_retries=0) as made:
        yield made


def test_files_are_uploaded_listed_retrieved_and_deleted(client: openai.OpenAI) -> None:
    file = client.files.create(file=("faq.jsonl", PAIRS), purpose="fine-tune")
    assert (file.object, file.filename, file.bytes, file.status) == ("file", "faq.jsonl", len(PAIRS), "processed")
    assert [found.id for found in client.files.list()] == [file.id]
    assert client.files.retrieve(file.id) == file
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_mapping_goes_with_a_file_as_an_extra_field(client: openai.OpenAI) -> None:
    mapping = {"mapping": '{"anchor": "q", "positive": "a"}'}
    file = client.files.create(file=("faq.csv", b"q,a\nwhich,that\n"), purpose="fine-tune", extra_body=mapping)
    assert (file.status, file.to_dict()["counts"]["pairs"]) == ("processed", 1)


def test_metadata_goes_with_files_and_uploads_in_the_extra_body_and_lists_filter_by_it(client: openai.OpenAI) -> None:
    said: dict[str, Any] = {"metadata": {"team": "search", "stage": "ünï, 100 %"}}
    file = client.files.create(file=("faq.jsonl", PAIRS), purpose="fine-tune", extra_body=said)
    client.files.create(file=("other.jsonl", PAIRS), purpose="fine-tune", extra_body={"metadata": {}})
    assert file.to_dict()["metadata"] == client.files.retrieve(file.id).to_dict()["metadata"] == said["metadata"]
    assert [found.id for found in client.files.list(extra_query={"metadata": {"team": "search"}})] == [file.id]
    asked: dict[str, Any] = {"filename": "p.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    upload = client.uploads.create(bytes=len(PAIRS), **asked, extra_body=said)
    part = client.uploads.parts.create(upload.id, data=PAIRS)
    done = client.uploads.complete(upload.id, part_ids=[part.id])
    assert done.file is not None and done.file.to_dict()["metadata"] == said["metadata"]
    for bad in ({"a": {"b": "c"}}, {"a": ["b", "c"]}, {"k" * 65: "v"}, {str(n): "v" for n in range(17)}):
        with pytest.raises(openai.UnprocessableEntityError, match="metadata"):
            client.files.create(file=("faq.jsonl", PAIRS), purpose="fine-tune", extra_body={"metadata": bad})


def test_a_broken_file_is_told_line_by_line(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.files.create(file=PAIRS + b"no json\n", purpose="fine-tune")
    assert (caught.value.code, caught.value.type) == ("dataset_invalid", "invalid_request_error")
    assert "Line 21" in caught.value.message and caught.value.request_id is not None


def test_a_job_is_created_retrieved_listed_followed_and_cancelled(client: openai.OpenAI) -> None:
    file = client.files.create(file=PAIRS, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=file.id,
        suffix="faq",
        seed=7,
        metadata={"team": "search"},
        hyperparameters={"n_epochs": 3},
        extra_body={"method": {"type": "contrastive", "contrastive": {"hyperparameters": {"temperature": 0.1}}}},
    )
    assert (job.object, job.status, job.model, job.training_file) == ("fine_tuning.job", "queued", BASE, file.id)
    assert (job.hyperparameters.n_epochs, job.hyperparameters.batch_size, job.seed) == (3, 18, 7)
    assert (job.fine_tuned_model, job.finished_at, job.error, job.result_files) == (None, None, None, [])
    assert client.fine_tuning.jobs.retrieve(job.id) == job
    assert [found.id for found in client.fine_tuning.jobs.list(metadata={"team": "search"})] == [job.id]
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=1))
    assert [event.data["type"] for event in events if isinstance(event.data, dict)] == ["cancelled", "submitted"]


def test_a_suffix_is_as_long_as_openais_and_a_wrong_one_is_refused_in_words(client: openai.OpenAI) -> None:
    file = client.files.create(file=PAIRS, purpose="fine-tune").id
    longest, rule = "a" * 60 + "-_.9", "must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit"
    assert client.fine_tuning.jobs.create(model=BASE, training_file=file, suffix=longest).status == "queued"
    for wrong in ("x" * 65, "support faq", "-faq", "fäq", ""):
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            client.fine_tuning.jobs.create(model=BASE, training_file=file, suffix=wrong)
        assert caught.value.param == "suffix" and caught.value.message.endswith(f" - suffix: {rule}")


def test_a_file_that_is_to_go_by_itself_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="expires_after"):
        client.files.create(file=PAIRS, purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600})
    assert "expires_after" in (Path(__file__).parents[2] / "docs/openai.md").read_text("utf-8")


def test_a_job_is_paused_resumed_and_refused_once_it_has_ended(client: openai.OpenAI) -> None:
    file = client.files.create(file=PAIRS, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
    assert [client.fine_tuning.jobs.pause(job.id).status for _ in range(2)] == ["paused", "paused"]
    assert client.fine_tuning.jobs.retrieve(job.id).status == "paused"
    with pytest.raises(openai.ConflictError, match=job.id) as caught:
        client.files.delete(file.id)
    assert caught.value.code == "in_use"
    assert [client.fine_tuning.jobs.resume(job.id).status for _ in range(2)] == ["queued", "queued"]
    client.fine_tuning.jobs.pause(job.id)
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    for wish in (client.fine_tuning.jobs.pause, client.fine_tuning.jobs.resume):
        with pytest.raises(openai.ConflictError) as caught:
            wish(job.id)
        assert caught.value.code == "job_terminal"
    told = [event.data["type"] for event in client.fine_tuning.jobs.list_events(job.id) if isinstance(event.data, dict)]
    assert told == ["cancelled", "paused", "unpaused", "paused", "submitted"]


@pytest.mark.parametrize(
    ("asked", "code", "param"),
    [
        *(
            ({"method": {"type": t}}, "unsupported_value", "method.type")
            for t in ("supervised", "dpo", "reinforcement")
        ),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "unsupported_value", "integrations"),
    ],
)
def test_openais_own_methods_are_refused_by_name(
    client: openai.OpenAI, asked: dict[str, Any], code: str, param: str
) -> None:
    file = client.files.create(file=PAIRS, purpose="fine-tune")
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.fine_tuning.jobs.create(model=BASE, training_file=file.id, **asked)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_models_are_listed_and_retrieved_by_names_with_slashes(client: openai.OpenAI) -> None:
    assert BASE in [model.id for model in client.models.list()]
    assert client.models.retrieve(BASE).object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody/knows")


def test_the_list_of_models_which_has_no_pages_there_is_whole(live: Live, client: openai.OpenAI) -> None:
    base = {model.id for model in client.models.list()}
    names = {f"ft:base:faq:abcd{number:04}" for number in range(30)}
    for name in names:
        published(live.parts, name)
    assert {model.id for model in client.models.list()} == names | base
    shown = client.models.list(extra_query={"limit": 10}).data
    assert len(shown) == 10 + len(base) and {model.id for model in shown} < names | base


def test_the_content_of_a_file_comes_back(client: openai.OpenAI) -> None:
    file = client.files.create(file=("faq.jsonl", PAIRS), purpose="fine-tune")
    assert client.files.content(file.id).read() == PAIRS


@pytest.mark.parametrize("part_size", [100, 64 << 20])
def test_a_file_is_uploaded_in_chunks_by_the_clients_own_loop(
    client: openai.OpenAI, tmp_path: Path, part_size: int
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(PAIRS)
    md5 = hashlib.md5(PAIRS).hexdigest()
    asked: dict[str, Any] = {"mime_type": "text/jsonl", "purpose": "fine-tune", "part_size": part_size, "md5": md5}
    done = client.uploads.upload_file_chunked(file=path, **asked)
    assert (done.object, done.status, done.bytes, done.filename) == ("upload", "completed", len(PAIRS), path.name)
    assert done.file is not None and done.file == client.files.retrieve(done.file.id)
    assert client.files.content(done.file.id).read() == PAIRS


def test_an_upload_is_made_part_by_part_and_given_up(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"filename": "p.jsonl", "mime_type": "text/jsonl", "purpose": "fine-tune"}
    upload = client.uploads.create(bytes=len(PAIRS), **asked)
    assert (upload.status, upload.file, upload.purpose) == ("pending", None, "fine-tune")
    part = client.uploads.parts.create(upload.id, data=PAIRS)
    assert (part.object, part.upload_id) == ("upload.part", upload.id) and part.id.startswith("part-")
    with pytest.raises(openai.BadRequestError, match="MD5"):
        client.uploads.complete(upload.id, part_ids=[part.id], md5="0" * 32)
    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.ConflictError) as caught:
        client.uploads.complete(upload.id, part_ids=[part.id])
    assert caught.value.code == "upload_ended"


def test_a_model_is_deleted_once_and_a_base_model_never(client: openai.OpenAI, live: Live) -> None:
    name = "ft:base:imported:12345678"
    common: dict[str, Any] = {"dimensions": 8, "max_tokens": 8, "fingerprint": "f", "summary": {}}
    common |= {"project": "default", "created_at": 7.0, "folder": "m"}
    record = ModelRecord(id=name, parent=None, job_id=None, **common)
    with live.parts.database.write() as tx:
        catalog.insert_model(tx, record)
    found = client.models.retrieve(name)
    assert (found.id, found.created, found.owned_by, found.object) == (name, 7, "default", "model")
    deleted = client.models.delete(name)
    assert (deleted.id, deleted.deleted, deleted.object) == (name, True, "model")
    with pytest.raises(openai.NotFoundError):
        client.models.delete(name)
    with pytest.raises(openai.ConflictError):
        client.models.delete(BASE)


def test_embeddings_come_in_the_clients_own_base64_and_as_floats(client: openai.OpenAI) -> None:
    texts = ["the dog barks", "a cat sleeps"]
    coded = client.embeddings.create(model=BASE, input=texts, extra_body={"input_type": "query"})
    listed = client.embeddings.create(model=BASE, input=texts, encoding_format="float")
    assert np.allclose([item.embedding for item in coded.data], [item.embedding for item in listed.data])
    assert np.allclose(coded.data[0].embedding, WordEncoder().encode(texts, side=Side.QUERY)[0])
    assert (coded.object, coded.model, coded.usage.prompt_tokens) == ("list", BASE, 6)


def test_token_ids_are_told_apart_from_texts(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        client.embeddings.create(model=BASE, input=[[1, 2, 3]])


def test_a_wrong_key_is_an_authentication_error(live: Live) -> None:
    other = openai.OpenAI(base_url=f"{live.url}/v1", api_key="sk-wrong", max_retries=0)
    with other, pytest.raises(openai.AuthenticationError) as caught:
        other.files.list()
    assert caught.value.code == "invalid_api_key"


def test_a_job_that_made_a_model_lists_it_as_its_checkpoint(client: openai.OpenAI, live: Live) -> None:
    job = published(live.parts, report=toy_report())
    [found] = list(client.fine_tuning.jobs.checkpoints.list(job, limit=1))
    assert (found.object, found.fine_tuning_job_id) == ("fine_tuning.job.checkpoint", job)
    assert (found.step_number, found.metrics.step, found.metrics.valid_loss) == (40, 40, None)
    assert found.metrics.train_loss == toy_report()["curve"][-1]["loss"]
    assert client.models.retrieve(found.fine_tuned_model_checkpoint).id == TUNED
    assert list(client.fine_tuning.jobs.checkpoints.list(job, after=found.id)) == []
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.checkpoints.list(job, after="ftckpt-none")
    assert caught.value.code == "bad_cursor"


def test_a_job_that_has_made_no_model_has_no_checkpoint(client: openai.OpenAI) -> None:
    file = client.files.create(file=PAIRS, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
    assert list(client.fine_tuning.jobs.checkpoints.list(job.id)) == []
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.checkpoints.list("ftjob-" + "0" * 26)


def test_jobs_and_events_are_listed_window_by_window(client: openai.OpenAI) -> None:
    file = client.files.create(file=PAIRS, purpose="fine-tune")
    made = [client.fine_tuning.jobs.create(model=BASE, training_file=file.id).id for _ in range(3)]
    assert [job.id for job in client.fine_tuning.jobs.list(limit=1)] == made[::-1]
    page = client.fine_tuning.jobs.list(limit=2, after=made[2])
    assert [job.id for job in page.data] == made[1::-1] and page.has_more is False
    client.fine_tuning.jobs.cancel(made[0])
    events = client.fine_tuning.jobs.list_events(made[0], limit=1)
    assert events.has_more and [event.object for event in events] == ["fine_tuning.job.event"] * 2
    with pytest.raises(openai.ConflictError) as caught:
        client.fine_tuning.jobs.pause(made[0])
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_the_client_reads_the_live_events_of_a_job(client: openai.OpenAI) -> None:
    file = client.files.create(file=PAIRS, purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=BASE, training_file=file.id)
    client.fine_tuning.jobs.cancel(job.id)
    path = f"/fine_tuning/jobs/{job.id}/events/stream"
    told = client.get(path, cast_to=object, stream=True, stream_cls=openai.Stream[Any])
    assert [event.get("object") for event in told] == ["fine_tuning.job.event"] * 2 + ["job.progress"]
