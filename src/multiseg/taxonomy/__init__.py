"""How the classes of different datasets relate: as people say, as names suggest, as a model shows."""
