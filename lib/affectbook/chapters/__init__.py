"""What chapters draw beyond the figures of every page: a module for each, and what they share."""
