"""Many videos: in this process, in processes of this machine, or in actors of a Ray cluster."""
