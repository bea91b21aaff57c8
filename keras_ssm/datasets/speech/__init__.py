"""Spoken words, and sounds of your own."""
