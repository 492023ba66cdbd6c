"""axe-core's findings on a page that is open in the browser: https://github.com/dequelabs/axe-core."""

import pytest

__all__ = ["violations"]


def violations(tab: object) -> list[str]:
    """Rule, impact, place and how to mend it, of every rule that axe-core has; empty for a page without findings."""
    checked = pytest.importorskip("axe_playwright_python.sync_playwright").Axe().run(tab)
    return [
        f"{rule['id']} ({rule['impact']}) at {node['target']}: {node.get('failureSummary', '')}"
        for rule in checked.response["violations"]
        for node in rule["nodes"]
    ]
