"""Payments by card through an acquirer: orders, bindings, autopay, fiscal receipts. No card number ever comes here."""
