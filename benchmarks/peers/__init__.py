"""What our layers are measured against."""
