"""Reading of frames and masks, and atomic writing of files. Checkpoints are read by `weights`."""
