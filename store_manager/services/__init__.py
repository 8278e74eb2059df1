"""The use cases in the words of the trade. No HTTP and no query stands here."""
