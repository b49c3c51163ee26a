"""Speech recognition: a convolutional and recurrent network that is trained with CTC."""
