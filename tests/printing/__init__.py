"""Tests of the printed bill and of its QR."""
