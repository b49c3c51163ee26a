"""The data validation step."""

import logging

# Great Expectations logs hundreds of lines about itself, the first while it is imported.
logging.getLogger("great_expectations").setLevel(logging.ERROR)
