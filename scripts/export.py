"""Export masks to another program's format: python scripts/export.py MASKS FORMAT [frames=VIDEO] [key=value ...]."""

from xmem_infer.cli.commands import exit_with, run
from xmem_infer.export.command import ExportConfig

if __name__ == "__main__":
    exit_with(run("export", ExportConfig, "export.command.export"))
