"""What a browser or a printer gets: documents."""
