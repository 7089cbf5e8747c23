"""Getting data sets: fetching open ones, and helping with those that need a signature."""
