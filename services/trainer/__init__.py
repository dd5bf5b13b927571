"""The trainer: learns from data that never leaves its machine, and contributes through one gateway account."""
