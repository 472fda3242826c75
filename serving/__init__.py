"""From a bundle and history to lists, exports, the ledger, effect and reports."""
