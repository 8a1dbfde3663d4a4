"""People are told: one alert per incident, kept until delivered, and never more than they can read."""
