"""The page a person looks at: one self-contained HTML file of a run, or served while it goes on."""
