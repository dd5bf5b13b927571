"""Doubles of the services for the tests of whoever talks to them: small real implementations, held to the real ones by one suite."""
