"""A regular package, or one of the same name that was installed (opensimplex) would be taken."""
