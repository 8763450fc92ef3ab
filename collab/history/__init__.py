"""What was: snapshots, time travel, restore, comparison, and who wrote what."""
