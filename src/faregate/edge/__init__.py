"""Floor 5, the doors: the ASGI app of the data plane, the API beside it, the admin API, and the one error renderer."""
