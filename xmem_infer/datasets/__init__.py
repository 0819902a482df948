"""Discovery of the videos to process, their given masks, and the frames whose masks are saved."""
