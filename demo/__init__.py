"""The web page, what it lets in, and the server around it."""
