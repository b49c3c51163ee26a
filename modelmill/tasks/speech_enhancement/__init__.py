"""Speech enhancement: a network that estimates which part of each frequency at each time is speech."""
