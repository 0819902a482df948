"""suite=documents: every claim of the five documents as a case, with a verdict and what was measured."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tqdm import tqdm

from ...config import GradMode, Precision
from ...io.atomic import write_json, write_whole
from ...model.network import XMem
from .claims import Claim, Verdict
from .claims_children import create_requests, creation_claims, linear_claims, linear_requests, measure
from .claims_network import network_claims
from .claims_recording import recording_claims
from .claims_switching import switching_claims
from .claims_timed import timed_claims
from .config import AblateConfig
from .plan import Cell, cells_of, interleaved
from .plots import draw_by_frame, draw_memory, draw_savings
from .process import Nursery
from .report import savings_table, setting, table_of
from .summary import Line, Saving, lines_of, savings
from .sweep import GB, Bench, Row, sweep

Say = Callable[[str], None]
TITLES = {
    1: "XMem disables gradients globally",
    2: "no_grad in practice",
    3: "no_grad against inference_mode",
    4: "The managers compared",
    5: "disable_torch_init against no_grad",
}


def check_documents(
    config: AblateConfig,
    bench: Bench,
    nursery: Nursery,
    precisions: Sequence[Precision],
    context: Mapping[str, Any],
    folder: Path,
    say: Say,
) -> int:
    """Check every claim and write the report; 0, or 1 where a run failed."""
    # Memory depends on the sizes of the network, not on its numbers: the published sizes need no download.
    bench = replace(bench, weights=_published_sizes(bench.folder))
    within_a_frame = [GradMode.set_grad_enabled, GradMode.enable_grad_detached]
    cells = cells_of(replace(config.ablate, grad_modes=within_a_frame), precisions)
    scene = cells[0].scene
    every_mode = [Cell(scene, precision, mode) for precision in precisions for mode in GradMode]
    say(f"{len(every_mode) + len(cells)} runs at the network's published size, then the other claims")
    modes = sweep(bench, interleaved(every_mode, 1), nursery, say)
    rows = sweep(replace(bench, timed=False), interleaved(cells, 1), nursery, say)
    lines = lines_of(rows)
    saved = savings(lines)
    ceiling_bytes = int(bench.max_memory_gb * GB)
    linear = linear_requests(config.documents, bench.threads, ceiling_bytes)
    create = create_requests(bench.weights, bench.threads, ceiling_bytes)
    with tqdm(total=len(linear) + len(create), desc="other claims", unit="process", disable=None) as bar:
        claims = [
            *network_claims(modes, lines, saved),
            *linear_claims(config.documents, measure(linear, "linear", nursery, bar.update)),
            *creation_claims(measure(create, "created", nursery, bar.update)),
            *recording_claims(),
            *switching_claims(),
            *timed_claims(config.documents.forwards),
        ]
    claims.sort(key=lambda claim: claim.document)
    _write(config, context, claims, modes, rows, saved, folder)
    _draw(lines, lines_of(modes), saved, folder, bench.max_memory_gb)
    say(f"{len(claims)} claims: {_tally(claims)}; report in {folder / 'report.md'}")
    return 1 if any(row.status == "failed" for row in (*modes, *rows)) else 0


def _published_sizes(folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = XMem().state_dict()
    path = folder / "published_sizes.safetensors"
    save_file(state, path)
    return path


def _draw(
    lines: Sequence[Line], modes: Sequence[Line], saved: Sequence[Saving], folder: Path, ceiling_gb: float
) -> None:
    draw_memory(lines, folder)
    draw_by_frame(modes, folder, ceiling_gb)
    if saved:
        draw_savings(saved, folder)


def _write(
    config: AblateConfig, context: Mapping[str, Any], claims: Sequence[Claim], modes: Sequence[Row],
    rows: Sequence[Row], saved: Sequence[Saving], folder: Path,
) -> None:  # fmt: skip
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("document", "claim", "verdict", "measured", "why"))
    table.writerows((c.document, c.claim, c.verdict.value, c.measured, c.why) for c in claims)
    write_whole(folder / "results.csv", lambda to: to.write_text(text.getvalue(), encoding="utf-8"))
    content = {
        **context,
        "config": asdict(config),
        "claims": [asdict(claim) for claim in claims],
        "runs": [{**row.flat(), **row.series()} for row in (*modes, *rows)],
        "savings": [{**asdict(s), "saved": s.whole, "saved_without_network": s.working} for s in saved],
    }
    write_json(folder / "results.json", content)
    report = _report(context, claims, modes, saved)
    write_whole(folder / "report.md", lambda to: to.write_text(report, encoding="utf-8"))


def _report(context: Mapping[str, Any], claims: Sequence[Claim], modes: Sequence[Row], saved: Sequence[Saving]) -> str:
    parts = [
        "# The documents' claims, measured",
        f"{len(claims)} claims: {_tally(claims)}. Memory of the network is measured at the published sizes with random "
        "weights (memory depends on sizes alone); the setting below names the weights found, which are not used here.",
        setting(context),
    ]
    for document, title in TITLES.items():
        here = [claim for claim in claims if claim.document == document]
        parts.append(f"## {document}. {title}")
        parts.append(
            table_of(("claim", "verdict", "measured"), [(c.claim, f"**{c.verdict.value}**", c.measured) for c in here])
        )
        parts += [f"*{claim.claim}.* {claim.why}" for claim in here]
        if document == 1:
            parts += [
                "![Saving within a frame](saving.png)",
                savings_table(saved),
                f"All grad modes on {modes[0].cell.scene.words}:",
                "![Memory by frame](memory_by_frame.png)",
                "![Peak memory](memory.png)",
            ]
    return "\n\n".join(parts) + "\n"


def _tally(claims: Sequence[Claim]) -> str:
    count = Counter(claim.verdict for claim in claims)
    return ", ".join(f"{count[verdict]} {verdict.value}" for verdict in Verdict if count[verdict])
