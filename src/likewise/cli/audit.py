"""audit: find faults in a run's data."""

import json
import os
from collections import Counter

from likewise.cli.app import Json, RunFolder, app


@app.command()
def audit(run: RunFolder, as_json: Json = False) -> None:
    """List likely wrong labels, copies and leakage, outliers, tiny classes and broken files of a run's data."""
    from likewise import api
    from likewise.cli.screen import verdict_text
    from likewise.experiment.run import Run
    from likewise.experiment.verdict import verdict_of

    result = api.audit(run)
    if as_json:
        print(json.dumps(result.to_dict(), indent=1, ensure_ascii=False))
        return
    print(result.leak)
    if result.parts:
        print(f"near-copies: {result.parts_text}")
    for finding, count in Counter(f.finding for f in result.findings()).items():
        print(f"{count:6,}  {finding}")
    print(f"\n{run / 'audit.html'}\n{run / 'audit.csv'}")
    if (opened := Run.open(run)).metrics_file.exists():
        print(f"\n{verdict_text(verdict_of(opened, folder=os.fspath(run)))}")
