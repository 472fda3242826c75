"""Where each customer stands in life: stage schemes as data, their history, transitions and life curves."""
