"""What placement is made of: requests, what is free of a node, and nodes by what is free."""
