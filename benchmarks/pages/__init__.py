"""Pictures and pages of the documentation, made anew."""
