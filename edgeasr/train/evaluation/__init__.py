"""How well a recogniser hears: what is measured, fitted and told."""
