"""A report as a job writes it, with numbers that are easily found again."""

from typing import Any

DIGEST = "ab" * 32


def example(outcome: str, base: float, *, tuned: float, text: str = "how do I list files") -> dict[str, Any]:
    values = {"query": "q1", "outcome": outcome, "base": base, "tuned": tuned, "text": text, "relevant": ["ls -l"]}
    first = {"base_first": "rm -r", "tuned_first": "ls -l" if outcome != "loss" else "cat file"}
    return {**values, **first, "base_is_right": False, "tuned_is_right": outcome != "loss"}


def toy_report(*, text: str = "how do I list files", num_steps: int = 40) -> dict[str, Any]:
    """One judged set, a win, a loss and a tie; `text` is a user's wherever users' texts stand."""
    comparison = {"metric": "ndcg@10", "num_queries": 1000, "mean_base": 0.377, "mean_tuned": 0.519, "delta": 0.142}
    comparison |= {"low": 0.12, "high": 0.165, "wins": 512, "losses": 88, "ties": 400, "verdict": "better"}
    judged = {"name": "held out", "num_documents": 5000, "num_queries": 1000, "small_corpus": True}
    means = {"base": {"ndcg@10": 0.377, "mrr@10": 0.4}, "tuned": {"ndcg@10": 0.519, "mrr@10": 0.38}}
    interval = {"base": 0.377, "tuned": 0.519, "low": 0.12, "high": 0.165}
    worse = {"base": 0.4, "tuned": 0.38, "low": -0.03, "high": -0.01}
    shown = [example("win", 0.0, tuned=1.0, text=text), example("loss", 1.0, tuned=0.5), example("tie", 0.0, tuned=0.0)]
    beside = {"digest": DIGEST, "intervals": {"ndcg@10": interval, "mrr@10": worse}, "histogram": [0] * 9 + [88, 512]}
    layout = {"pooling": "mean", "max_seq_length": 64, "max_positions": 512, "pad_id": 0}
    curve = [_record(step, num_steps) for step in range(1, num_steps + 1)]
    return {
        "job_id": "ftjob-1",
        "created_at": 1_764_000_000,
        "model": "acme/tiny",
        "fingerprint": "cd" * 32,
        "dimensions": 384,
        "encoder": {**layout, "prompts": {"query": "ask: ", "document": ""}},
        "data": {"training_file": {"id": "file-1", "filename": text, "sha256": "ef" * 32}},
        "num_pairs": 900,
        "num_steps": num_steps,
        "best_step": None,
        "trained_tokens": 12_345,
        "summary": {
            "metric": "ndcg@10",
            "evaluations": [{**judged, **means, "comparison": comparison}],
            "verdict": "better",
        },
        "side_by_side": {"held out": {**beside, "examples": shown}},
        "judged": {"metric": "ndcg@10", "points": [[0, 0.377], [20, 0.5], [40, 0.519]]},
        "settings": [
            {"name": "batch_size", "asked": "auto", "became": 32},
            {"name": "weight_decay", "became": 0.01},
            {"name": "max_seq_length", "asked": None, "became": 64},
        ],
        "machine": {"precision": "bf16", "device": "cpu", "seconds": {"float32": 0.5}},
        "seconds": {"baseline": 3.0, "training": 125.0},
        "versions": {"torch": "2.13.0"},
        "curve": curve,
    }


def _record(step: int, total: int) -> dict[str, Any]:
    told = {"step": step, "total_steps": total, "epoch": step / total, "loss": 3.0 / step, "learning_rate": 1e-4 / step}
    told |= {"grad_norm": 2.0 + step % 3, "temperature": 0.05, "num_tokens": 300, "elapsed_seconds": 0.5 * step}
    return {**told, "pairs_per_second": 64.0, "eta_seconds": 0.5 * (total - step)}


def with_retention(*, held: bool, alpha: float = 1.0) -> dict[str, Any]:
    """The same report of a job that measured what its model still knows, and looked between base and tuned weights."""
    report, tuned = toy_report(), 0.72 if held else 0.65
    kept = {"metric": "ndcg@10", "base": 0.725, "tuned": tuned, "delta": tuned - 0.725, "bound": 0.01, "held": held}
    sizes = {"num_queries": 1000, "num_documents": 3000}
    curve = [{"alpha": at / 4, "held_out": 0.4 + at / 50, "probe": 0.725 - at / 90} for at in range(5)]
    chosen = {"alpha": alpha, "reason": "the best <of> them", "seconds": 21.5, "curve": curve}
    chosen |= {"chosen_by": {"num_queries": 50, "num_documents": 2000}}
    summary = report["summary"] | {"retention": kept | sizes, "alpha": alpha}
    return report | {"summary": summary, "interpolation": chosen}
