"""Method services that stand outside: small, complete, run as processes of their own."""
