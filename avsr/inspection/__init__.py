"""Show mouth crops, landmarks and the quality of each frame: what ``avsr crop`` writes."""
