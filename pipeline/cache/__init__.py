"""What is there already: artifacts, results, leases."""
