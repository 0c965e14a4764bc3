"""What developers run: the control plane of tests and demo, and the demo itself."""
