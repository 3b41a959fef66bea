"""Texts that go to the model as they are."""
