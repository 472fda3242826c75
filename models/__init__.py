"""From a snapshot to forecasts: churn, spend and CLV, purchase-process models, economics, reasons, the Bundle."""
