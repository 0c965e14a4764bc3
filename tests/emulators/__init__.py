"""Emulators of services that cannot run on a test machine."""
