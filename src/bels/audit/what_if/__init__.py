"""What would be under other rules: closings decided anew, nothing stored."""
