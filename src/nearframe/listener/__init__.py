"""Sockets, TLS and the HTTP server that carries the application."""
