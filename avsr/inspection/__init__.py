"""What ``avsr crop`` shows: crops, landmarks and the quality of every frame."""
