"""Purchase-process models: what a customer's few dates say about the dates to come."""
