"""A server, eight clients, and kills at random moments over all of them (see `storm`)."""
