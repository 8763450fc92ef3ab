"""What rooms were: snapshots, the document at any moment that is kept, and what became of it since."""
