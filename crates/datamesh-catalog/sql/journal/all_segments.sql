SELECT id FROM segment
