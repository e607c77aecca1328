"""One self-contained HTML page per study: answers, figures, tables, and where each number is."""
