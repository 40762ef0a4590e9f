"""The plugins that come with trabbits, through the same interfaces as everybody's."""
