"""The Aspect runtime: what one call of an Aspect may see and do, and what it costs."""
