"""The web page around avsr: `make demo` or `avsr demo`."""
