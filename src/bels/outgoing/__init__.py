"""What bels sends by itself: reminders, notices, codes; by the channel that a household chose, once, and it knows what became of it."""
