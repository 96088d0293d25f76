"""What tests of programs that send or receive webhooks need: shipped to users."""
