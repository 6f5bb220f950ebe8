"""All that an account's history rests on, as one signed file that is judged without bels."""
