"""Method services: methods that other processes answer, over NATS (docs/method-services.md)."""
