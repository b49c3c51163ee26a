"""Where models come from: folders, buckets, hubs and the registry; what is fetched of them, and what is checked."""
