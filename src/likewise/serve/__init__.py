"""The service: galleries behind HTTP, and a page to ask them."""
