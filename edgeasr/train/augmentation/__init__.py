"""What happens to a clip before the student hears it."""
