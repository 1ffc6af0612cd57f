"""Results -> what is printed: text for a person, JSON for a program, Markdown for a review comment."""
