"""The standard methods of RFC 8620 section 5 over any declared type; pure."""
