"""Decoded images, kept in memory that workers share or in one file on the disk."""
