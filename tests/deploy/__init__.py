"""What is deployed: the proxy, the units, the image, backups; whatever can be run without a container engine."""
