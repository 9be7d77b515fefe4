"""What a run leaves behind: its folder, report.json, report.html and plots."""
