"""Label tables that two readers share."""
