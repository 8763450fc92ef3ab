"""What stands in a document, for people and programs that do not speak Yjs."""
