"""What runs outside of the steps: the DAG, its runners, the command line, clusters and triggers."""
