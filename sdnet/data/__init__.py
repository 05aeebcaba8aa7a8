"""Images: where they come from (:mod:`sdnet.data.datasets`) and what is done to them."""
