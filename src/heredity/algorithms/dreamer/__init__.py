"""DreamerV3: a world model, and an actor that learns in it."""
