"""Many videos at once: who does which, in processes of this machine or actors of a Ray cluster."""
