"""The API over HTTP: one Flask-RESTX namespace for each noun, and what they share. HTTP in, HTTP out, no rule."""
