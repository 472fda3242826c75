"""The forms the ledger has had, one file each; they run by themselves when a ledger is opened."""
