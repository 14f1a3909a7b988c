"""Ways of scoring segments and other people's maps, on the same photographs at the same price."""
