"""Segment every frame of a video from the mask of its first frame. See docs/modes-and-speed.md for the settings."""

from xmem_infer.cli.commands import eval_command

if __name__ == "__main__":
    eval_command()
