"""`modelmill schedule`: the cluster's recurring runs as schedules.yaml has them."""
