"""The HTTP API: publishing on plain ASGI, management on FastAPI, every refusal a problem document."""
