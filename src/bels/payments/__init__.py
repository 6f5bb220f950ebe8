"""Where payments come in, and what banks and payment apps are told: one till for every way a partner comes."""
