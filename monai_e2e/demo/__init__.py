"""The whole pipeline on phantoms, and the page that shows what came out."""
