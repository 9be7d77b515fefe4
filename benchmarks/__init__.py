"""The programs that measured every figure of the project; README.md lists their commands."""
