"""suite=documents: measure, decide every claim, write the page."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import OmegaConf
from safetensors.torch import save_file

from ...config import Precision
from ..benchmark.workloads import XMEM, load_benchmark_network
from ..report import setting_table, table, write_csv, write_page
from . import checks_of_figures
from .evidence import Evidence, NotMeasured, measure
from .observations import Verdict, check_expectations
from .plan import Setup
from .plots import draw_by_frame, draw_savings
from .report import savings_table

ADVICE = "What this needs did not finish. More memory (ablate.max_memory_gb) or smaller sizes help."
log = logging.getLogger(__name__)
Row = Mapping[str, Any]


def read_table() -> dict[str, Any]:
    """Read the claims. `titles`: titles of the documents by number; `claims`: one dict per claim."""
    content: Any = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_name("claims.yaml")))
    return content


def decide(row: Row, evidence: Evidence) -> Row:
    """Decide a claim: its document (1-5) and text, the verdict, what was measured, and the reason for the verdict.

    The verdict is `not measured` if a process that it needs did not finish.
    """
    why = row["why"]
    try:
        check = getattr(checks_of_figures, row.get("check", ""), None)
        verdict, measured = check(evidence) if check else check_expectations(row["expect"])
    except NotMeasured as reason:
        verdict, measured, why = Verdict.not_measured, str(reason), ADVICE
    columns = {"verdict": verdict.value, "measured": measured, "why": why}
    return {"document": row["document"], "claim": row["claim"], **columns}


def check_documents(setup: Setup, precisions: Sequence[Precision], conditions: Mapping[str, Any], folder: Path) -> int:
    """Check every claim; write results.csv, pictures and report.md. Return 0, or 1 if a run failed."""
    # Memory depends on the sizes of the network, not on its weights, so random weights do and nothing is downloaded.
    with TemporaryDirectory(prefix="xmem_ablation_") as scratch:
        setup = replace(setup, weights=Path(scratch, "published_sizes.safetensors"))
        save_file(load_benchmark_network(XMEM, None).state_dict(), setup.weights)
        evidence = measure(setup, precisions)
    content = read_table()
    claims = [decide(row, evidence) for row in content["claims"]]
    count = Counter(claim["verdict"] for claim in claims)
    tally = ", ".join(f"{count[verdict.value]} {verdict.value}" for verdict in Verdict if count[verdict.value])
    write_csv(folder / "results.csv", claims)
    draw_by_frame(evidence.modes, folder, setup.config.ablate.max_memory_gb)
    if evidence.savings:
        draw_savings(evidence.savings, folder)
    introduction = (
        "# The documents' claims, measured",
        f"{len(claims)} claims: {tally}. Memory of the network is measured at the published sizes with random "
        "weights (memory depends on sizes alone); the setting below names the weights found, which are not used here.",
        setting_table({**conditions, "third document's hidden features": setup.config.documents.hidden}),
    )
    write_page(folder / "report.md", (*introduction, *_sections(content["titles"], claims, evidence)))
    log.info("%d claims: %s; report in %s", len(claims), tally, folder / "report.md")
    return 1 if any(run.status == "failed" for run in (*evidence.modes, *evidence.runs)) else 0


def _sections(titles: Mapping[int, str], claims: Sequence[Row], evidence: Evidence) -> Iterator[str]:
    for document, title in titles.items():
        here = [claim for claim in claims if claim["document"] == document]
        yield f"## {document}. {title}"
        rows = [(claim["claim"], f"**{claim['verdict']}**", claim["measured"]) for claim in here]
        yield table(("claim", "verdict", "measured"), rows)
        yield from (f"*{claim['claim']}.* {claim['why']}" for claim in here)
        if document == 1:
            if evidence.savings:
                yield "![Saving within a frame](saving.png)"
                yield savings_table(evidence.savings)
            yield f"All grad modes on {evidence.modes[0].scene}:"
            yield "![Memory by frame](memory_by_frame.png)"
