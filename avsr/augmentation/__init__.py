"""What training and evaluation do to clean clips: noise, masks, damaged pictures."""
