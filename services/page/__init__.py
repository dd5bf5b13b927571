"""What a browser talks to: the page, and on the same origin the few calls of gateway, model server and chain that it may make."""
