"""The activities: one module per outside partner. Here, and nowhere else, errors become ApplicationErrors."""
