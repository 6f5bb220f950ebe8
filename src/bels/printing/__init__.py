"""What is printed: the bill as a PDF, and the payment QR on it. Values in, bytes out: no database, no clock."""
