"""The web page, its checks of uploads and requests, and the server around it."""
