"""The pages of a run: report.html, map.html, audit.html, and compare.html of a comparison; each is one file."""
