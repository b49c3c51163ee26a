"""A recommender: it ranks the whole catalogue by which item a user comes to next."""
