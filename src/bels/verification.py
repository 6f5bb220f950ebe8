"""Verify the whole journal, in parallel: its chains against the seals, and the views and charges that follow from it."""
