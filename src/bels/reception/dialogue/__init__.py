"""The dialogue: one machine for the voice menu and the messengers, which knows neither; any process takes its next turn."""
