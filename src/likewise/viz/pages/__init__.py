"""Self-contained HTML pages: report.html, map.html and audit.html of a run, compare.html of a comparison."""
