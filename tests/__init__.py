"""Tests of the library, the operator and their packaging, each against real servers."""
