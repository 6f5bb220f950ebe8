"""Does the journal say what it said when it was sealed, and do views and charges follow from it?"""
