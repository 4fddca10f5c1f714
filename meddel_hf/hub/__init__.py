"""What goes to the Hub: data sets, and the metric."""
