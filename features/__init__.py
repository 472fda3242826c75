"""A purchase log, and what it says at a cutoff: tables, store, History, features, labels, stages."""
