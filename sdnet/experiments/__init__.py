"""The experiments, a folder for each page of the book: what measures and what shows it stand side by side."""
