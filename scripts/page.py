"""Mark, track and correct the objects of a video in a browser: python scripts/page.py video_dir=... [mask=...]."""

from xmem_infer.cli.commands import exit_with, run
from xmem_infer.page.command import PageConfig, page

if __name__ == "__main__":
    exit_with(run("page", PageConfig, page))
