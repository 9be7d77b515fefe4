"""`report.html`: what `report.json` and the pictures of a run say, on one page that needs no other file."""
