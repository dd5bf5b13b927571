"""Who may ask for an inference, and at what price: one module for each way, a row of `table` each, and what they have in common."""
